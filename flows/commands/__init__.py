"""One module a command of `decant`, imported only when that command is called.

A command reads its arguments, calls the flow or the core, and prints; it computes nothing itself.
"""
