"""Let each kind of fault happen in both worlds, and say how far the model is off.

One small service meets each fault once, for a second.
"""

import sys
from pathlib import Path

from campaigns.both_worlds import campaign
from sim.declare.each_fault import LOSES, with_each_fault
from sim.declare.scenario import Scenario

ONE_FAULT = Path(__file__).parents[1] / "data" / "scenarios" / "one-fault.yaml"


def main() -> None:
    """Run the campaign. The exit status is 1 if a promise was broken where none may be."""
    scenarios = with_each_fault(Scenario.load(ONE_FAULT), "billing", at_s=2.0, for_s=1.0)
    results = campaign("faults", __doc__, "--only outage --only 'server away'", scenarios)
    sys.exit(1 if any(one.broken for one in results if one.case not in LOSES) else 0)


if __name__ == "__main__":
    main()
