"""What the language model attends to, from captured rows."""
