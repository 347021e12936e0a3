"""What all studies share: conditions, the life of a study, summaries, tables, panels, the command line."""
