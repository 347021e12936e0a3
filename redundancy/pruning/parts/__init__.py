"""What methods are made of: segmenters, budgets, selectors, mergers."""
