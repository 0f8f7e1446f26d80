#!/usr/bin/env python3
"""The shipped jobs, held against another engine: DuckDB, in batch, over what is in the topics.

    python3 -m venv /tmp/duckdb && /tmp/duckdb/bin/pip install duckdb
    cargo build --release
    /tmp/duckdb/bin/python benches/jobs/verify.py                     # all of the jobs
    /tmp/duckdb/bin/python benches/jobs/verify.py clickstream --events 1000000

Each job is given generated input on a broker of its own and run to the input's end. Then its topics are read
(`tidemill topics tail`), and `JOB.sql` answers the questions of `jobs/JOB/README.md` once more, over the input.
Nothing else is shared: records are decoded here, by Python's JSON reader, and the queries follow the README's
definitions by other ways than the job's own SQL, which only decides where the README leaves something open.

What is taken from the run, for it depends on how that went, is which rows were late for which step
(`dead-letters/late.jsonl`). Records that can't be decoded are found here, and must be those that the run put
into its dead letters.

A `JOB.sql` consists of

* tables, whose comments say what they are: `input` (a topic of rows), `input, changelog` (a topic of Debezium's
  changes, of which the table is the sum), `late for STEP` (the rows that a step of that kind dropped, recognised by
  their columns; a name that begins with two underscores is one that the run's plan made up);
* views, of which those with a comment are the results: `result` (a topic of rows), `result, latest of each key`,
  `result, changelog`.

`macros.sql` is run before each of them. A table may have the columns `kafka_partition` and `kafka_offset`.
"""

import argparse
import contextlib
import dataclasses
import datetime
import decimal
import json
import math
import pathlib
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter

try:
    import duckdb
except ImportError:
    duckdb = None

HERE = pathlib.Path(__file__).resolve().parent
INSTALL = (
    "DuckDB's Python package is needed: python3 -m venv VENV && VENV/bin/pip install duckdb, "
    "and run this with VENV/bin/python."
)

# Columns that are not in a record's value.
PLACE_COLUMNS = ("kafka_partition", "kafka_offset")

# Doubles are equal if they are so near to each other.
RELATIVE_TOLERANCE = 1e-9

EXAMPLES_MAX = 3

# The jobs are to read no more than so many records at once. Without a limit a run over little input sees all of it
# in a few epochs, and so no row behind a watermark.
EPOCH_ROWS_MAX = 200


class Problem(Exception):
    """Something that keeps a job from being compared at all."""


class Undecodable(Exception):
    """A record that is no row of its table."""


# ---------------------------------------------------------------------------------------------
# Records


@dataclasses.dataclass(frozen=True)
class Record:
    """A record as `tidemill topics tail --json` prints it. A tombstone has no value."""

    partition: int
    offset: int
    key: str | None
    value: str | None


def parse_json(text):
    """JSON, strictly: numbers keep all of their digits, and NaN is none."""

    def refuse(name):
        raise Undecodable(f"{name} is no JSON")

    if text is None:
        raise Undecodable("a record without a value")
    try:
        return json.loads(text, parse_float=decimal.Decimal, parse_constant=refuse)
    except ValueError as error:
        raise Undecodable(str(error)) from error


def decode(value, type_name):
    """A JSON value as one of a column's type."""
    if value is None:
        return None
    if type_name.endswith("[]"):
        if not isinstance(value, list):
            raise Undecodable(f"{value!r} is no array")
        return [decode(element, type_name[:-2]) for element in value]
    if type_name.startswith("STRUCT("):
        return decode_row(value, fields_of(type_name))
    return decode_scalar(value, type_name)


def decode_scalar(value, type_name):
    is_number = isinstance(value, (int, decimal.Decimal)) and not isinstance(value, bool)
    if type_name == "VARCHAR" and isinstance(value, str):
        return value
    if type_name == "BOOLEAN" and isinstance(value, bool):
        return value
    if type_name in ("INTEGER", "BIGINT", "HUGEINT") and is_number and isinstance(value, int):
        return value
    if type_name.startswith("DECIMAL(") and is_number:
        return decimal.Decimal(value)
    if type_name == "DOUBLE" and is_number:
        return float(value)
    if type_name == "DATE" and isinstance(value, str):
        return decode_time(value, datetime.date.fromisoformat)
    if type_name == "TIMESTAMP" and isinstance(value, str):
        return decode_time(value, timestamp)
    raise Undecodable(f"{value!r} is no {type_name}")


def decode_time(text, parse):
    try:
        return parse(text)
    except ValueError as error:
        raise Undecodable(str(error)) from error


def timestamp(text):
    """An instant or a time of the wall clock, which is UTC's in all jobs."""
    at = datetime.datetime.fromisoformat(text)
    return at if at.tzinfo is None else at.astimezone(datetime.timezone.utc).replace(tzinfo=None)


def decode_row(value, columns):
    """A JSON object as a row. What it doesn't have is NULL, what no column wants is left out."""
    if not isinstance(value, dict):
        raise Undecodable("a row must be an object")
    return {name: decode(value.get(name), type_name) for name, type_name in columns.items()}


def fields_of(struct_type):
    """The fields of `STRUCT(a VARCHAR, b DECIMAL(10,2))`."""
    inside = struct_type[len("STRUCT(") : -1]
    fields = re.findall(r"(\w+) (\w+(?:\([\d,]+\))?)(?:, |$)", inside)
    return dict(fields)


def plain(value):
    """A decoded value for a JSON file that DuckDB reads: text, so that no digit gets lost on the way."""
    if isinstance(value, dict):
        return {name: plain(field) for name, field in value.items()}
    if isinstance(value, list):
        return [plain(element) for element in value]
    return value if value is None else str(value)


# ---------------------------------------------------------------------------------------------
# The job and its broker


@contextlib.contextmanager
def broker(arguments, folder):
    """An embedded broker, for as long as the block lasts. Gives its address."""
    log = open(folder / "broker.log", "w")
    command = [arguments.tidemill, "broker", "--listen", "127.0.0.1:0", "--data", str(folder / "broker")]
    command += ["--partitions", str(arguments.partitions)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        address = process.stdout.readline().strip()
        if not address:
            raise Problem(f"the broker did not start: {(folder / 'broker.log').read_text()}")
        yield address
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def run(*command):
    """Runs a command to its end."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise Problem(f"{' '.join(command)} failed:\n{done.stderr.strip()[-2000:]}")
    return done.stdout


@dataclasses.dataclass
class Run:
    """One run of a job, and where to read what came of it."""

    tidemill: str
    brokers: str
    prefix: str
    state: pathlib.Path
    summary: dict

    def records(self, topic):
        """All records of a topic, in the order of their partitions and offsets."""
        text = run(
            self.tidemill, "topics", "tail", self.prefix + topic, "--brokers", self.brokers,
            "--from-beginning", "--no-follow", "--json",
        )
        lines = (json.loads(line) for line in text.split("\n") if line)
        records = (Record(line["partition"], line["offset"], line["key"], line["value"]) for line in lines)
        return sorted(records, key=lambda record: (record.partition, record.offset))

    def letters(self, name):
        """The dead letters of a table, or the late ones."""
        path = self.state / "dead-letters" / f"{name}.jsonl"
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text().split("\n") if line]

    def late_letters(self):
        letters = self.letters("late")
        expected = self.summary["late_rows"]
        if len(letters) != expected:
            raise Problem(f"{expected} rows were late, and {len(letters)} are in the dead letters")
        return letters


def run_job(job, arguments, brokers, folder):
    """Generates a job's input and runs the job to its end."""
    prefix = f"verify-{secrets.token_hex(4)}-"
    where = ["--brokers", brokers, "--topic-prefix", prefix]
    run(arguments.tidemill, "generate", job, *where, "--events", str(arguments.events), "--seed", str(arguments.seed))
    state, summary = folder / "state", folder / "summary.json"
    workers = ["--workers", str(arguments.workers)] if arguments.workers else []
    run(
        arguments.tidemill, "run", job, *where, *workers,
        "-D", "BOUNDED=latest-offset", "-D", f"tidemill.epoch.max-rows={EPOCH_ROWS_MAX}",
        "--state", str(state), "--summary", str(summary),
    )
    return Run(arguments.tidemill, brokers, prefix, state, json.loads(summary.read_text()))


# ---------------------------------------------------------------------------------------------
# What goes into DuckDB


class Database:
    """DuckDB with a job's tables and views."""

    def __init__(self, job, folder):
        self.folder = folder
        self.connection = duckdb.connect()
        self.connection.execute("SET TimeZone = 'UTC'")
        for name in ("macros", job):
            self.connection.execute((HERE / f"{name}.sql").read_text())

    def commented(self, kind, comment):
        """Names of tables or views whose comment begins so, and the comments."""
        found = self.connection.execute(
            f"SELECT {kind}_name, comment FROM duckdb_{kind}s() WHERE starts_with(comment, ?) ORDER BY {kind}_oid",
            [comment],
        )
        return found.fetchall()

    def columns(self, table):
        """Types of a table's or a view's columns, by name."""
        described = self.connection.execute(f"DESCRIBE {table}").fetchall()
        return {name: type_name for name, type_name, *_ in described}

    def fill(self, table, rows):
        """Puts rows into a table, through a file: that is by far the fastest way."""
        path = self.folder / f"{table}.jsonl"
        with open(path, "w") as out:
            for row in rows:
                out.write(json.dumps(plain(row)) + "\n")
        if path.stat().st_size == 0:
            return
        types = ", ".join(f"'{name}': '{type_name}'" for name, type_name in self.columns(table).items())
        self.connection.execute(
            f"INSERT INTO {table} SELECT * FROM "
            f"read_json('{path}', format = 'newline_delimited', columns = {{{types}}})"
        )

    def rows(self, view):
        return self.connection.execute(f"FROM {view}").fetchall()


def read_inputs(database, job_run):
    """Fills the tables of the input. Gives how many records there were, and how many were bad."""
    total, bad = 0, 0
    for table, comment in database.commented("table", "input"):
        records = job_run.records(table)
        columns = {name: kind for name, kind in database.columns(table).items() if name not in PLACE_COLUMNS}
        good, places = separate(records, columns, is_changelog(comment))
        check_bad(table, places, job_run)
        if is_changelog(comment):
            database.fill(table, fold([value for _, value in good], columns))
        else:
            database.fill(table, [row | place_of(record) for record, row in good])
        total, bad = total + len(records), bad + len(places)
    if bad != job_run.summary["bad_rows"]:
        raise Problem(f"{bad} records are bad, and the job says {job_run.summary['bad_rows']}")
    return total, bad


def place_of(record):
    return {"kafka_partition": record.partition, "kafka_offset": record.offset}


def is_changelog(comment):
    return comment.endswith("changelog")


def separate(records, columns, has_changes):
    """Records with what they mean, and the places of those that can't be decoded."""
    read = decode_change if has_changes else decode_row
    good, bad = [], set()
    for record in records:
        try:
            good.append((record, read(parse_json(record.value), columns)))
        except Undecodable:
            bad.add((record.partition, record.offset))
    return good, bad


def check_bad(table, found, job_run):
    """What is bad here must be what the job took for bad, and nothing else."""
    said = {(int(letter["place"].rsplit("/", 1)[1]), letter["position"]) for letter in job_run.letters(table)}
    if found != said:
        difference = sorted(found ^ said)[:EXAMPLES_MAX]
        raise Problem(f"{len(found)} bad records in {table}, in the dead letters {len(said)}: {difference}")


def decode_change(value, columns):
    """A record of Debezium's as what it takes out and what it puts in."""
    if not isinstance(value, dict) or value.get("op") not in ("c", "r", "u", "d"):
        raise Undecodable("no change of a row")
    images = (value.get("before"), value.get("after"))
    return tuple(None if image is None else decode_row(image, columns) for image in images)


def fold(changes, columns):
    """The rows that are left when all changes have been made, in whatever order."""
    rows = Counter()
    for before, after in changes:
        if before is not None:
            rows[tuple(before.values())] -= 1
        if after is not None:
            rows[tuple(after.values())] += 1
    if min(rows.values(), default=0) < 0:
        wrong = next(row for row, count in rows.items() if count < 0)
        raise Problem(f"a change log takes out more often than it puts in: {wrong}")
    return [dict(zip(columns, row)) for row in rows.elements()]


def read_late(database, job_run):
    """Fills the tables of late rows."""
    tables = [
        (table, comment.removeprefix("late for "), database.columns(table))
        for table, comment in database.commented("table", "late for ")
    ]
    rows = {table: [] for table, *_ in tables}
    letters = job_run.late_letters()
    for letter in letters:
        table, columns = late_table(letter, tables)
        rows[table].append({name: letter["row"][name] for name in columns})
    for table, its_rows in rows.items():
        database.fill(table, its_rows)
    return len(letters)


def late_table(letter, tables):
    """The table that a late row belongs to: of those for such a step of which it has all columns, the one with
    the most. A letter's step is called `window aggregate 7`; the number is another one in another plan."""
    kind, row = letter["step"].rsplit(" ", 1)[0], letter["row"]
    fitting = [(table, columns) for table, step, columns in tables if step == kind and columns.keys() <= row.keys()]
    if not fitting:
        raise Problem(f"no table of late rows has a place for {letter}")
    return max(fitting, key=lambda table_and_columns: len(table_and_columns[1]))


# ---------------------------------------------------------------------------------------------
# What is in a result topic


def result_rows(topic, comment, records, columns):
    """The rows that a result topic holds, in the types that they should have."""
    if comment == "result, latest of each key":
        return latest_rows(topic, records, columns)
    values = [parse_json(record.value) for record in records]
    if comment == "result, changelog":
        changes = [decode_change(value, columns) for value in values]
        return [tuple(row.values()) for row in fold(changes, columns)]
    return [result_row(topic, value, columns) for value in values]


def latest_rows(topic, records, columns):
    """The last value of each key. A tombstone removes it."""
    latest = {}
    for record in records:
        latest[record.partition, record.key] = record.value
    rows = []
    for (_, key), value in latest.items():
        if value is None:
            continue
        row = parse_json(value)
        if any(row.get(name) != part for name, part in parse_json(key).items()):
            raise Problem(f"a record of {topic} has the key {key} and the value {value}")
        rows.append(result_row(topic, row, columns))
    if len({key for _, key in latest}) != len(latest):
        raise Problem(f"a key of {topic} is in two partitions")
    return rows


def result_row(topic, value, columns):
    if value.keys() != columns.keys():
        raise Problem(f"a record of {topic} has the fields {list(value)}, expected were {list(columns)}")
    return tuple(decode_row(value, columns).values())


# ---------------------------------------------------------------------------------------------
# The comparison


@dataclasses.dataclass
class Difference:
    rows: int
    equal: int
    missing: list
    extra: list

    def __bool__(self):
        return bool(self.missing or self.extra)


def compare(expected, found, columns):
    """Two multisets of rows. Rows may differ in doubles by a little."""
    missing, extra = Counter(expected), Counter(found)
    both = missing & extra
    missing, extra = list((missing - both).elements()), list((extra - both).elements())
    if "DOUBLE" in columns.values():
        missing, extra = without_near(missing, extra)
    return Difference(len(found), len(found) - len(extra), missing, extra)


def without_near(missing, extra):
    """Takes out pairs of rows that are the same but for the last digits of doubles."""
    left, extra = [], list(extra)
    for row in missing:
        partner = next((other for other in extra if is_near(row, other)), None)
        if partner is None:
            left.append(row)
        else:
            extra.remove(partner)
    return left, extra


def is_near(row, other):
    pairs = zip(row, other)
    return all(
        math.isclose(a, b, rel_tol=RELATIVE_TOLERANCE)
        if isinstance(a, float) and isinstance(b, float)
        else a == b
        for a, b in pairs
    )


def text(row, columns):
    return ", ".join(f"{name} {value}" for name, value in zip(columns, row))


def show(topic, difference, columns):
    missing, extra = len(difference.missing), len(difference.extra)
    print(
        f"  {topic:<20} {difference.rows:>9,} rows {difference.equal:>9,} equal"
        f" {missing:>7,} missing {extra:>7,} extra"
    )
    for name, rows in (("missing", difference.missing), ("extra", difference.extra)):
        for row in sorted(rows, key=str)[:EXAMPLES_MAX]:
            print(f"    {name}: {text(row, columns)}")


def verify(job, arguments, brokers, folder):
    """Runs a job and compares each of its results. Says whether all of them agree."""
    job_run = run_job(job, arguments, brokers, folder)
    database = Database(job, folder)
    records, bad = read_inputs(database, job_run)
    late = read_late(database, job_run)
    print(f"{job}: {records:,} records, {bad:,} bad, {late:,} late", flush=True)
    agrees = True
    for topic, comment in database.commented("view", "result"):
        columns = database.columns(topic)
        found = result_rows(topic, comment, job_run.records(topic), columns)
        difference = compare(database.rows(topic), found, columns)
        show(topic, difference, columns)
        agrees = agrees and not difference
    sys.stdout.flush()
    return agrees


def verify_in(folder, job, arguments):
    with contextlib.ExitStack() as stack:
        brokers = arguments.brokers or stack.enter_context(broker(arguments, folder))
        return verify(job, arguments, brokers, folder)


def jobs():
    return sorted(path.stem for path in HERE.glob("*.sql") if path.stem != "macros")


def parse_arguments():
    parser = argparse.ArgumentParser(
        description="Compares the shipped jobs' result topics with DuckDB's answers over their input topics.",
        epilog=INSTALL,
    )
    parser.add_argument("jobs", metavar="JOB", nargs="*", help="a shipped job; all of them without")
    parser.add_argument("--events", metavar="N", type=int, default=100_000, help="generated records (100000)")
    parser.add_argument(
        "--tidemill", metavar="PATH", default="target/release/tidemill", help="the binary (target/release/tidemill)"
    )
    parser.add_argument("--brokers", metavar="ADDR", help="a Kafka, where the topics are left; else an embedded broker")
    parser.add_argument(
        "--partitions", metavar="N", type=int, default=1,
        help="of a topic of the embedded broker (1: so more rows are late)",
    )
    parser.add_argument("--seed", metavar="S", type=int, default=42, help="another one gives other records (42)")
    parser.add_argument("--workers", metavar="N", type=int, help="worker threads of the jobs")
    parser.add_argument("--keep", metavar="DIR", help="leave what each run wrote in this folder")
    arguments = parser.parse_args()
    unknown = set(arguments.jobs) - set(jobs())
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(jobs())}")
    if duckdb is None:
        parser.error(INSTALL)
    if shutil.which(arguments.tidemill) is None:
        parser.error(f"there is no {arguments.tidemill}: cargo build --release makes it")
    return arguments


@contextlib.contextmanager
def working_folder(job, keep):
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="tidemill-verify-") as folder:
            yield pathlib.Path(folder)
    else:
        folder = pathlib.Path(keep) / job
        folder.mkdir(parents=True)
        yield folder


def main():
    arguments = parse_arguments()
    # A broker must not outlive this: leave by an exception, whichever signal it is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    agrees = True
    for job in arguments.jobs or jobs():
        try:
            with working_folder(job, arguments.keep) as folder:
                agrees = verify_in(folder, job, arguments) and agrees
        except Problem as problem:
            print(f"{job}: {problem}", flush=True)
            agrees = False
    sys.exit(0 if agrees else 1)


if __name__ == "__main__":
    main()
