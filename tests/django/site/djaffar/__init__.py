"""Our tables as models, while there is no Django app of our own."""
