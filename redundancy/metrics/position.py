"""How far tokens stand from where their content came from."""
