"""What every package may use: errors, formatting, paths, files, statistics, processes.

Nothing here imports another package of the project.
"""
