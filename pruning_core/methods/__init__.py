"""The catalogue: what can be chosen, with its title, help, paper and implementation.

Nothing here imports torch; an entry names its implementation as a dotted string.
"""
