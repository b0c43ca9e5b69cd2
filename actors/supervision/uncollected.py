"""The forkserver imports this first: it switches the garbage collector off.

Imports leave no garbage. The collector would look through all that was imported, again and again, for a tenth
of the time. A child switches it on again (`actor_host.run`).
"""

import gc

gc.disable()
