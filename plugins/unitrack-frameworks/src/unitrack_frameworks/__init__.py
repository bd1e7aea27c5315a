"""unitrack as the logger of a framework: a module for each, which imports that framework alone."""
