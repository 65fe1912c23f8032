"""The statements of roll-ups (backend/metering/rollups.py says what they mean)."""

from __future__ import annotations

BANDS = ("spike_wh", "peak_wh", "flat_wh", "valley_wh", "deep_wh", "cold_wh")
_REGISTERS = ", ".join(BANDS)
_NO_REGISTERS = ", ".join(f"NULL::bigint AS {band}" for band in BANDS)

# What a meter of a gateway was touched by in a day is taken together, or the day would be computed for
# each sweep.
CLAIM = (
    "WITH picked AS (SELECT DISTINCT day, about FROM metering_touched"
    "   WHERE group_id = $1 AND last_at <= $2 ORDER BY day, about LIMIT $3),"
    " claimed AS (DELETE FROM metering_touched t USING picked p WHERE t.group_id = $1"
    "   AND t.day = p.day AND t.about = p.about AND t.last_at <= $2"
    "   RETURNING first_at, last_at, meter_ids),"
    " touched AS (SELECT unnest(meter_ids) AS meter_id, min(first_at) AS first_at,"
    "   max(last_at) AS last_at FROM claimed GROUP BY 1)"
    " SELECT d::date AS day, array_agg(m.id) AS meter_ids,"
    "   (SELECT count(*) FROM claimed) AS batches FROM touched t"
    " JOIN metering_meter m ON m.group_id = $1 AND m.id = t.meter_id"
    " JOIN tenancy_project p ON p.group_id = $1 AND p.id = m.project_id"
    " CROSS JOIN LATERAL generate_series("
    "   ((t.first_at - interval '1 microsecond') AT TIME ZONE p.time_zone)::date,"
    "   ((t.last_at - interval '1 microsecond') AT TIME ZONE p.time_zone)::date, '1 day') AS d"
    " GROUP BY d"
)
# The first day of a meter that may not be rolled up yet (in the zone of marks), NULL when all are. Marks
# of the newest two days are many and of nearly all meters: only older ones are looked through.
PENDING = (
    "SELECT coalesce((SELECT min(day) FROM metering_touched WHERE group_id = $1"
    "   AND day < n.newest - 1 AND $2::uuid = ANY(meter_ids)), n.newest - 1)"
    " FROM (SELECT max(day) AS newest FROM metering_touched WHERE group_id = $1) AS n"
)
STAGE = (
    "CREATE TEMP TABLE IF NOT EXISTS history_stage (meter_id uuid, at timestamptz, total bigint,"
    " spike_wh bigint, peak_wh bigint, flat_wh bigint, valley_wh bigint, deep_wh bigint,"
    " cold_wh bigint, power_w integer) ON COMMIT DELETE ROWS"
)
STAGED = ("meter_id", "at", "total", *BANDS, "power_w")

# What was known of the meters $2 in the days $3 to $4 ($5 and $6 enclose them in every zone): samples,
# and what an assignment says of its ends. `turn` orders what happened at one instant.
_KNOWN = f"""
WITH meters AS (
    SELECT m.id, m.project_id, p.time_zone, p.sweep_minutes * interval '2 minutes' AS pause,
        $3::date::timestamp AT TIME ZONE p.time_zone AS beginning,
        ($4::date + 1)::timestamp AT TIME ZONE p.time_zone AS ending
    FROM metering_meter m
    JOIN tenancy_project p ON p.group_id = m.group_id AND p.id = m.project_id
    WHERE m.group_id = $1 AND m.id = ANY($2::uuid[])
), serving AS (
    SELECT m.id AS meter_id, m.beginning, m.ending, a.counter_epoch AS epoch, a.started_at,
        a.ended_at, a.opening_total, a.closing_total
    FROM meters m JOIN metering_assignment a ON a.group_id = $1 AND a.meter_id = m.id
        AND a.started_at <= m.ending AND (a.ended_at IS NULL OR a.ended_at > m.beginning)
), raw AS (
    SELECT r.* FROM meters m CROSS JOIN LATERAL (
        SELECT meter_id, at, total, {_REGISTERS}, power_w FROM metering_reading
        WHERE group_id = $1 AND meter_id = m.id AND at > m.beginning AND at <= m.ending
            AND at > $5::timestamptz AND at <= $6::timestamptz
        OFFSET 0) AS r  -- by the index, meter by meter, whatever the planner guesses
), samples AS (
    SELECT * FROM raw UNION ALL
    SELECT s.* FROM history_stage s JOIN meters m ON m.id = s.meter_id
    WHERE s.at > m.beginning AND s.at <= m.ending AND NOT EXISTS (
        SELECT FROM metering_reading r WHERE r.group_id = $1 AND r.meter_id = s.meter_id
            AND r.at = s.at)
), known AS (
    SELECT s.*, coalesce(v.epoch, 0) AS epoch, 1 AS sample, 1 AS turn FROM samples s
    LEFT JOIN serving v ON v.meter_id = s.meter_id AND v.started_at <= s.at
        AND (v.ended_at IS NULL OR s.at < v.ended_at)
    UNION ALL
    SELECT meter_id, started_at, opening_total, {_NO_REGISTERS}, NULL, epoch, 0, 0 FROM serving
    WHERE started_at > beginning
    UNION ALL
    SELECT meter_id, ended_at, closing_total, {_NO_REGISTERS}, NULL, epoch, 0, 2 FROM serving
    WHERE closing_total IS NOT NULL AND ended_at <= ending
), before AS (
    SELECT k.meter_id, k.epoch,
        coalesce(d.closed_at, v.started_at) AS at, coalesce(d.closing, v.opening_total) AS total,
        {", ".join(f"d.closing_{band} AS {band}" for band in BANDS)}
    FROM (SELECT DISTINCT meter_id, epoch FROM known) AS k
    LEFT JOIN LATERAL (
        SELECT * FROM metering_day WHERE group_id = $1 AND meter_id = k.meter_id
            AND epoch = k.epoch AND day < $3 ORDER BY day DESC LIMIT 1) AS d ON true
    LEFT JOIN serving v ON v.meter_id = k.meter_id AND v.epoch = k.epoch
        AND v.started_at <= v.beginning
    WHERE d.closing IS NOT NULL OR v.opening_total IS NOT NULL
)"""
# A band that a sample lacks is as it was at the last sample that has it.
_LAST_KNOWN = ", ".join(
    f"(max(ARRAY[(extract(epoch FROM k.at) * 1000000)::bigint, k.turn, k.{band}])"
    f" FILTER (WHERE k.{band} IS NOT NULL) OVER so_far)[3] AS {band}"
    for band in BANDS
)


def _by_the_hour(name: str) -> str:
    """A figure of the hours that were read, as metering_hours holds it."""
    return f"array_to_string(array_agg({name} ORDER BY hour), ',', '')"


_BAND_HOURS = ", ".join(
    f"CASE WHEN count({name}) > 0 THEN {_by_the_hour(name)} END AS {name}"
    for name in (*BANDS, "max_power_w")
)
_STEPPED = f""", filled AS (
    SELECT k.meter_id, k.epoch, k.at, k.turn, k.sample, k.total, k.power_w, {_LAST_KNOWN},
        ((k.at - interval '1 microsecond') AT TIME ZONE m.time_zone)::date AS day
    FROM (SELECT * FROM known UNION ALL
        SELECT meter_id, at, total, {_REGISTERS}, NULL, epoch, 0, -1 FROM before) AS k
    JOIN meters m ON m.id = k.meter_id
    WINDOW so_far AS (
        PARTITION BY k.meter_id, k.epoch ORDER BY k.at, k.turn ROWS UNBOUNDED PRECEDING)
), stepped AS (
    SELECT f.*, f.at - lag(f.at) OVER w AS pause, f.total - lag(f.total) OVER w AS step,
        lead(f.day) OVER w IS DISTINCT FROM f.day AS last,
        {", ".join(f"f.{band} - lag(f.{band}) OVER w AS step_{band}" for band in BANDS)}
    FROM filled f WINDOW w AS (PARTITION BY f.meter_id, f.epoch ORDER BY f.at, f.turn)
), placed AS (
    SELECT s.*, m.project_id, coalesce(s.pause > m.pause AND s.sample = 1, false) AS gap,
        s.at - interval '1 microsecond' - (s.day::timestamp AT TIME ZONE m.time_zone) AS so_far
    FROM stepped s JOIN meters m ON m.id = s.meter_id WHERE s.turn >= 0
), by_hour AS (
    SELECT project_id, meter_id, epoch, day, div(extract(epoch FROM so_far), 3600)::integer AS hour,
        coalesce(sum(step), 0)::bigint AS used, max(power_w) AS max_power_w,
        {", ".join(f"sum(step_{band})::bigint AS {band}" for band in BANDS)},
        sum(sample) AS samples, count(*) FILTER (WHERE step < 0) AS backward,
        count(*) FILTER (WHERE gap) AS gaps,
        max(total) FILTER (WHERE last) AS closing, max(at) FILTER (WHERE last) AS closed_at,
        {", ".join(f"max({band}) FILTER (WHERE last) AS closing_{band}" for band in BANDS)}
    FROM placed GROUP BY project_id, meter_id, epoch, day, hour
), by_day AS (
    SELECT project_id, meter_id, epoch, day, (max(closing) - sum(used))::bigint AS opening,
        max(closing) AS closing, max(closed_at) AS closed_at,
        {", ".join(f"sum({band})::bigint AS {band}" for band in BANDS)},
        {", ".join(f"max(closing_{band}) AS closing_{band}" for band in BANDS)},
        max(max_power_w) AS max_power_w, sum(samples) AS samples, sum(gaps) AS gaps,
        sum(backward) AS backward
    FROM by_hour GROUP BY project_id, meter_id, epoch, day
    HAVING sum(samples) > 0 OR sum(used) <> 0
), by_hours AS (
    SELECT project_id, meter_id, epoch, day, bit_or(1 << hour) AS hours,
        {_by_the_hour("used")} AS used, {_BAND_HOURS}, {_by_the_hour("samples")} AS samples,
        CASE WHEN sum(gaps) > 0 THEN {_by_the_hour("gaps")} END AS gaps
    FROM by_hour WHERE samples > 0 OR used <> 0 GROUP BY project_id, meter_id, epoch, day
)"""

_DAY_KEY = ("group_id", "meter_id", "epoch", "day")
_DAY_VALUES = (
    "project_id",
    "opening",
    "closing",
    "closed_at",
    *BANDS,
    *(f"closing_{band}" for band in BANDS),
    "max_power_w",
    "samples",
    "gaps",
    "backward",
)
HOURLY = ("used", *BANDS, "max_power_w", "samples", "gaps")
_HOURS_VALUES = ("project_id", "hours", *HOURLY)


def _put(table: str, values: tuple[str, ...], source: str) -> str:
    """Upsert the rows of `source` (of group $1, days $3 to $4), delete what is no more."""
    names = ", ".join(values)
    changes = ", ".join(f"{name} = EXCLUDED.{name}" for name in values)
    return f""", put_{table} AS (
    INSERT INTO {table} ({", ".join(_DAY_KEY)}, {names})
    SELECT $1, meter_id, epoch, day, {names} FROM {source} ORDER BY meter_id, day
    ON CONFLICT ({", ".join(_DAY_KEY)}) DO UPDATE SET {changes}
), gone_{table} AS (
    DELETE FROM {table} t WHERE group_id = $1 AND meter_id = ANY($2::uuid[])
        AND day BETWEEN $3 AND $4 AND NOT EXISTS (SELECT FROM {source} s
            WHERE s.meter_id = t.meter_id AND s.epoch = t.epoch AND s.day = t.day)
)"""


_ENDS = ("closing", "closed_at", *(f"closing_{band}" for band in BANDS))
# Computes a day ($3 = $4) of some meters; tells the next days that have a row of which the opening has
# changed.
ROLL_UP = f"""{_KNOWN}{_STEPPED}{_put("metering_day", _DAY_VALUES, "by_day")}{
    _put("metering_hours", _HOURS_VALUES, "by_hours")
}, changed AS (
    SELECT meter_id, epoch FROM by_day b FULL JOIN (
        SELECT * FROM metering_day
        WHERE group_id = $1 AND meter_id = ANY($2::uuid[]) AND day = $3) AS o
    USING (meter_id, epoch)
    WHERE ({", ".join(f"b.{name}" for name in _ENDS)})
        IS DISTINCT FROM ({", ".join(f"o.{name}" for name in _ENDS)})
)
SELECT n.day, array_agg(DISTINCT c.meter_id) AS meter_ids FROM changed c CROSS JOIN LATERAL (
    SELECT d.day FROM metering_day d WHERE d.group_id = $1 AND d.meter_id = c.meter_id
        AND d.epoch = c.epoch AND d.day > $4 ORDER BY d.day LIMIT 1) AS n
GROUP BY n.day"""

_DAY_SHOWN = ", ".join(("day", "epoch", *_DAY_VALUES[1:]))
_HOURS_SHOWN = ", ".join(("day", "epoch", *_HOURS_VALUES[1:]))
_OF_METER = "WHERE group_id = $1 AND meter_id = $2 AND day >= $3 AND day < $4 ORDER BY day, epoch"
# Days that are rolled up ($3 to before $4), and those that are computed now ($3 to $4).
DAYS = f"SELECT {_DAY_SHOWN} FROM metering_day {_OF_METER}"
HOURS = f"SELECT {_HOURS_SHOWN} FROM metering_hours {_OF_METER}"
DAYS_NOW = f"{_KNOWN}{_STEPPED} SELECT {_DAY_SHOWN} FROM by_day ORDER BY day, epoch"
HOURS_NOW = f"{_KNOWN}{_STEPPED} SELECT {_HOURS_SHOWN} FROM by_hours ORDER BY day, epoch"
