"""How often ordinary, right orders are interrupted."""
