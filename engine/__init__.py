"""The science of the loop: text, arrays and models in; text, arrays and numbers out. Knows no Django and no vendor."""

import os

# Threads that wait for work sleep instead of spinning: two torch processes on one machine, or a busy laptop, would
# otherwise run several times slower. It must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
