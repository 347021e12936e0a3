"""How far a reduced model is from the whole one."""
