"""Bring what people type into one plain form before any rule looks at it. Pure.

Full-width forms become ASCII, traditional characters of the command words become simplified,
punctuation and spaces go. A space stays between two digits: joining `50 20` would make an
amount that nobody wrote.
"""

from __future__ import annotations

import re
import unicodedata

MAX_CHARS = 200

_TRADITIONAL = str.maketrans(
    "餘額儲綁電費錶換記錄幫還詢繳買賬帳單發熱斷閘戶號個塊圓貳陸萬兩點參錢無沒報壞聯係務這開選間購續賣"
    "價費時幾麼樣驗證碼現氣給麻煩壹貮來請為說絡擇明細嗎",
    "余额储绑电费表换记录帮还询缴买账账单发热断闸户号个块圆贰陆万两点叁钱无没报坏联系务这开选间购续卖"
    "价费时几么样验证码现气给麻烦壹贰来请为说络择明细吗",
)
_KEPT = frozenset(".,-+%¥?")
_LONELY_POINT = re.compile(r"(?<![0-9])[.,]|[.,](?![0-9])")
_FREE_SPACE = re.compile(r"(?<![0-9]) | (?![0-9])")


def normalise(text: str) -> str:
    """The plain form of `text`: at most 200 characters, lower case, no punctuation but `.,-+%¥?`.

    `.` and `,` stay only between digits. Never raises.
    """
    folded = unicodedata.normalize("NFKC", text[:MAX_CHARS])[:MAX_CHARS]
    folded = folded.lower().translate(_TRADITIONAL)
    spaced = "".join(ch if ch.isalnum() or ch in _KEPT else " " for ch in folded)
    spaced = re.sub(r" +", " ", _LONELY_POINT.sub(" ", spaced)).strip()
    return _FREE_SPACE.sub("", spaced)


def without_spaces(text: str) -> str:
    """`text` without the spaces that `normalise` left between digits, for numbers typed in groups."""
    return text.replace(" ", "")
