"""What studies share: conditions, measures, tables, panels and the command line."""
