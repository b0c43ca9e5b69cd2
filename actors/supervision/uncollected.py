"""What the forkserver imports first: no garbage is collected while it imports, as there is none.

The collector would look through all that was imported, again and again, for a tenth of the time. The last
import, `undisturbed.py`, has it work again.
"""

import gc

gc.disable()
