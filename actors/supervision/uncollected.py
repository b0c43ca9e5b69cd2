"""The forkserver imports this first: it switches the garbage collector off while it imports.

Imports leave no garbage. The collector would look through all that was imported, again and again, for a tenth
of the time. The last import, `undisturbed.py`, switches it on again.
"""

import gc

gc.disable()
