"""What the demo's world consists of: two groups, their projects, shops and rooms, meters and tenants."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Home:
    """One account with its meter and its tenant. Money in yuan, energy in kWh at first start. `cloud`: its
    money stays in the cloud, which charges what is read."""

    no: str
    name: str
    place: tuple[str, ...]
    phone: str
    meter: str
    openid: str
    remaining: str
    energy: str
    average_w: int
    cloud: bool = False


@dataclass(frozen=True, slots=True)
class AlipayApp:
    """An app at Alipay and the seller (PID) that it collects for."""

    app_id: str
    seller_id: str


@dataclass(frozen=True, slots=True)
class Site:
    """One project with one gateway; `mchid` is its own merchant account at WeChat Pay, `alipay` its app at
    Alipay and `unionpay` its merchant number at UnionPay where it has one (A2). `by_hours`: its power costs
    more by day than at night, and its meters are told when."""

    code: str
    name: str
    kind: str
    gateway: str
    mchid: str
    homes: tuple[Home, ...]
    alipay: AlipayApp | None = None
    unionpay: str = ""
    by_hours: bool = False


@dataclass(frozen=True, slots=True)
class DemoGroup:
    """One group with its official account."""

    code: str
    name: str
    app_id: str
    sites: tuple[Site, ...]


def _homes(
    *,
    series: int,
    first: int,
    names: tuple[str, ...],
    building: str,
    prefix: str,
    watts: int,
    yuan: tuple[str, ...],
) -> tuple[Home, ...]:
    return tuple(
        Home(
            no=str(first + index),
            name=name,
            place=(building, name),
            phone=f"138{series:02d}{first + index:06d}",
            meter=f"23{series:02d}{first + index:08d}",
            openid=f"o{prefix}Tenant{index + 1:02d}",
            remaining=yuan[index % len(yuan)],
            energy=f"{120 + 37 * index}.500",
            average_w=watts + 90 * index,
        )
        for index, name in enumerate(names)
    )


HQ = DemoGroup(
    code="hq",
    name="云商连锁集团",
    app_id="wxdemohq0000000001",
    sites=(
        Site(
            "mall",
            "城东商铺",
            "SHOPS",
            "GW-MALL-01",
            "1900000101",
            _homes(
                series=11,
                first=100001,
                names=("奶茶店", "面馆", "书店", "药房", "理发店", "花店"),
                building="A 座一层",
                prefix="Mall",
                watts=900,
                yuan=("23.60", "8.40", "56.00", "112.35", "3.20", "41.00"),
            ),
            AlipayApp("2021000000000101", "2088000000000101"),
            "777290058110101",
            by_hours=True,
        ),
        Site(
            "dorm",
            "学生公寓",
            "DORMITORY",
            "GW-DORM-01",
            "1900000102",
            _homes(
                series=12,
                first=200001,
                names=("301 室", "302 室", "303 室", "304 室"),
                building="3 号楼三层",
                prefix="Dorm",
                watts=250,
                yuan=("12.00", "30.50", "6.75", "18.20"),
            ),
        ),
        Site(
            "garden",
            "和园小区",
            "COMMUNITY",
            "GW-GARDEN-01",
            "1900000103",
            _homes(
                series=13,
                first=300001,
                names=("1-101", "1-102", "1-201", "1-202"),
                building="1 幢",
                prefix="Garden",
                watts=400,
                yuan=("66.00", "15.90", "88.40", "5.10"),
            ),
        ),
    ),
)

LAKE = DemoGroup(
    code="lake",
    name="湖畔物业",
    app_id="wxdemolake00000001",
    sites=(
        Site(
            "market",
            "湖畔市集",
            "SHOPS",
            "GW-LAKE-01",
            "1900000201",
            _homes(
                series=21,
                first=100001,
                names=("渔具店", "茶馆", "面包房"),
                building="沿湖街",
                prefix="Lake",
                watts=700,
                yuan=("19.00", "7.70", "33.00"),
            ),
        ),
    ),
)

GROUPS = (HQ, LAKE)
