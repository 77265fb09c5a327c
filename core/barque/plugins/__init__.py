"""Finds drivers (stevedore), checks and calls them (pluggy): one typed façade a kind.

stevedore and pluggy's `PluginManager` appear in this package alone. Start at `registry.Registry`.
"""
