"""In the way of a grammar that another package has installed here: where the action runs there is none.

jsonschema takes it if it is there, to check formats that unitrack's schemas don't have, which costs each process a second.
"""

raise ImportError
