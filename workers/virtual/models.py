"""Every model that a virtual site can hold, by name: what its table in a site file becomes.

Another protocol adds its planners here; see plan.Planner.
"""

from __future__ import annotations

from collections.abc import Mapping

from . import plain, prepaid, tongues
from .plan import Planner
from .registers import ADF300, Family

DDSY = Family(type_code=7, phases=1, zones=0x2000, tables=(0x2006, 0x201B), fee=0x0400, load=0x0480)
DTSY = Family(type_code=5, phases=3, zones=0x0028, tables=(0x2000, 0x2015), fee=0x0400, load=0x0480)
BOX_SINGLE = Family(
    type_code=ADF300,
    phases=1,
    zones=0x093E,
    tables=(0x0914, 0x0929),
    fee=0x0500,
    load=0x0700,
    by_phase=True,
)
BOX_THREE = Family(
    type_code=ADF300,
    phases=3,
    zones=0x093E,
    tables=(0x0914, 0x0929),
    fee=0x0536,
    load=0x0718,
    by_phase=True,
)

PLANNERS: Mapping[str, Planner] = {
    "DDSY1352-NK": prepaid.planner("DDSY1352-NK", DDSY),
    "DTSY1352-NK": prepaid.planner("DTSY1352-NK", DTSY),
    "ADF300": prepaid.planner("ADF300", BOX_SINGLE),
    "ADF300-3P": prepaid.planner("ADF300-3P", BOX_THREE),
    # No map of these is public: taken for the likes of DDSY1352, as their profiles are.
    "ADM100": prepaid.planner("ADM100", DDSY),
    "ADF100": prepaid.planner("ADF100", DDSY),
    **{model: plain.planner(model) for model in plain.TABLES},
    **tongues.PLANNERS,
}
