"""The virtual site of a chaos run: two groups, three projects each, five tenants a project, of whom one has
its money in the cloud. Each project has merchant accounts at three channels."""

from __future__ import annotations

from dataclasses import dataclass

from backend.demo.plan import AlipayApp, DemoGroup, Home, Site

_SITES, _HOMES = 3, 5
OPENING_FEN = 2_000
ALONE_FEN = 1_500  # up to this one operator gives back alone
_CLOUD_W = 12_000


@dataclass(frozen=True, slots=True)
class Tenant:
    """Somebody who pays: an account with its meter, in a project with a merchant account of its own."""

    group: DemoGroup
    site: Site
    home: Home


def _site(group: int, number: int) -> Site:
    place = f"{group}{number}"
    homes = tuple(
        Home(
            no=f"{place}000{index}",
            name=f"{place} 店{index}",
            place=("一层", f"{index} 号"),
            phone=f"138{place}00000{index}",
            meter=f"25{place}0000000{index}",
            openid=f"o{place}Tenant{index}",
            remaining="20.00",
            energy="100.000",
            # What a meter that holds money uses is another test: its wallet only grows.
            average_w=_CLOUD_W if index == _HOMES else 0,
            cloud=index == _HOMES,
        )
        for index in range(1, _HOMES + 1)
    )
    return Site(
        code=f"site{number}",
        name=f"商铺街 {number}",
        kind="SHOPS",
        gateway=f"GW-{place}",
        mchid=f"19000{place}000",
        homes=homes,
        alipay=AlipayApp(f"20210000000000{place}", f"20880000000000{place}"),
        unionpay=f"7772900581101{place}",
    )


def _group(number: int, code: str, name: str) -> DemoGroup:
    sites = tuple(_site(number, index) for index in range(1, _SITES + 1))
    return DemoGroup(code, name, f"wxchaos{code}000001", sites)


GROUPS = (_group(1, "north", "北方集团"), _group(2, "south", "南方集团"))
TENANTS = tuple(
    Tenant(group, site, home) for group in GROUPS for site in group.sites for home in site.homes
)
CLOUDS = tuple(tenant for tenant in TENANTS if tenant.home.cloud)
