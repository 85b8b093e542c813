"""Files by URI: local, object stores, the hub; and what a full disk is reported as.

In: a URI. Out: local paths, and a digest of what they hold.
"""
