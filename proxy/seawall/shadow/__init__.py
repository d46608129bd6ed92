"""What policies with `enforcement: Shadow` would do to calls, told from what really happens to them, and counted.

It acts on nothing: it changes no enforced machine, draws on no budget but its own, and never raises into a call. A call
is compared with the policy up to the first difference; what would have come of that nobody knows, and so it is not
guessed.
"""

from seawall.shadow.book import Shadows
from seawall.shadow.stay import Stay
from seawall.shadow.trace import Trace, follow

__all__ = ["Shadows", "Stay", "Trace", "follow"]
