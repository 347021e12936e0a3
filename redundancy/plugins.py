"""stub until P."""
def load_plugin(p): raise NotImplementedError
