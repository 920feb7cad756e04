#!/usr/bin/env python3
"""Checks the ledger of RFC 7296 (tests/ike/rfc7296_ledger/README.md).

  check.py                             the form of the ledger
  check.py --rfc FILE [--show]         the ledger against the text of the RFC: nothing missing, nothing made up
  check.py --asserted FOLDER           each row marked `test` is asserted in FOLDER, which the test programs wrote
"""
import argparse
import hashlib
import os
import re
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))
KEYWORDS = ("MUST NOT", "MUST", "SHALL NOT", "SHALL", "SHOULD NOT", "SHOULD", "REQUIRED", "NOT RECOMMENDED",
            "RECOMMENDED")
KEYWORD = re.compile(r"\b(" + "|".join(re.escape(each) for each in KEYWORDS) + r")\b")
PAGE_BREAK = "(page)"  # may stand inside a paragraph
HEADING = re.compile(r"^(\d+(?:\.\d+)*)\.  ?\S")
# A sentence ends with a full stop before a capital, but not after one of these.
ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|vs|cf)\.$")
SENTENCE_END = re.compile(r"(?<=[.!?])(?:[\"')\]]*)\s+(?=[\"'(\[]*[A-Z])")


class Row:
    def __init__(self, line, number):
        cells = line.split("\t")
        self.number = number
        self.complete = len(cells) == 6
        cells += [""] * (6 - len(cells))
        self.id, self.section, self.hash, self.keywords, self.rule, self.verdict = cells[:6]

    def kind(self):
        return self.verdict.split(":")[0]


# ---- the text of the RFC

def body_lines(text):
    """The lines between the table of contents and the references, without page headers and footers."""
    lines = []
    for line in text.replace("\r", "").split("\n"):
        line = line.replace("\f", "")
        if re.match(r"^\S.*\[Page \d+\]\s*$", line) or re.match(r"^RFC 7296\s.*\d{4}\s*$", line):
            lines.append(PAGE_BREAK)
            continue
        lines.append(line.rstrip())
    starts = [i for i, line in enumerate(lines) if re.match(r"^1\.  Introduction", line)]
    ends = [i for i, line in enumerate(lines) if re.match(r"^6\.  IANA Considerations", line)]
    return lines[starts[-1]:ends[-1]]


def paragraphs(lines):
    """(section, text) of each paragraph. A paragraph that a page break cuts is whole again."""
    found, section, current, broken = [], "", [], False

    def close():
        nonlocal broken
        if current and broken and found and not re.search(r"[.:!?]$", found[-1][1]) and found[-1][0] == section:
            found[-1][1] += " " + " ".join(current)
        elif current:
            found.append([section, " ".join(current)])
        if current:
            current.clear()
            broken = False

    for line in lines:
        heading = HEADING.match(line)
        if heading:
            close()
            section = heading.group(1)
        elif line == PAGE_BREAK:
            close()
            broken = True
        elif not line.strip():
            close()
        else:
            if re.match(r"^\s+(o|\*|-|\d+\.)\s\s", line):
                close()
            current.append(line.strip())
    close()
    return found


def sentences(paragraph):
    parts, start = [], 0
    for end in SENTENCE_END.finditer(paragraph):
        if ABBREVIATION.search(paragraph[start:end.start()]):
            continue
        parts.append(paragraph[start:end.start()])
        start = end.end()
    parts.append(paragraph[start:])
    return [re.sub(r"^o\s+", "", re.sub(r"\s+", " ", each).strip()) for each in parts]


def digest(sentence):
    return hashlib.sha256(re.sub(r"\s+", " ", sentence).strip().encode()).hexdigest()[:12]


def keywords_of(sentence):
    found = []
    for each in KEYWORD.findall(sentence):
        if each not in found:
            found.append(each)
    return ",".join(found)


def normative(text):
    """(id, section, hash, keywords, sentence) of each sentence with a keyword, in order."""
    counts, found = {}, []
    for section, paragraph in paragraphs(body_lines(text)):
        for sentence in sentences(paragraph):
            keywords = keywords_of(sentence)
            if not keywords:
                continue
            counts[section] = counts.get(section, 0) + 1
            found.append((f"{section}-{counts[section]:02}", section, digest(sentence), keywords, sentence))
    return found


# ---- the ledger

def read_ledger():
    with open(os.path.join(FOLDER, "ledger.tsv"), encoding="utf-8") as file:
        return [Row(line.rstrip("\n"), number) for number, line in enumerate(file, 1)
                if line.strip() and not line.startswith("#")]


def check_form(rows):
    """What is wrong with the ledger itself."""
    wrong, seen = [], set()
    for row in rows:
        where = f"line {row.number} ({row.id})"
        if not row.complete:
            wrong.append(f"{where}: not six cells")
            continue
        if row.id in seen:
            wrong.append(f"{where}: the id occurs twice")
        seen.add(row.id)
        if not re.fullmatch(r"\d+(\.\d+)*-\d\d", row.id) or row.id.rsplit("-", 1)[0] != row.section:
            wrong.append(f"{where}: the id is not its section and a number")
        if not re.fullmatch(r"[0-9a-f]{12}", row.hash):
            wrong.append(f"{where}: no hash")
        if not row.keywords or any(each not in KEYWORDS for each in row.keywords.split(",")):
            wrong.append(f"{where}: unknown keyword")
        if not row.rule:
            wrong.append(f"{where}: no rule")
        if row.verdict != "test" and not re.match(r"(na|gap): \S", row.verdict):
            wrong.append(f"{where}: neither test, nor na: WHY, nor gap: WHAT")
    return wrong


def check_text(rows, text, show):
    """What the ledger lacks of the RFC, and what it has too much."""
    wrong = []
    by_id = {row.id: row for row in rows}
    found = normative(text)
    for name, section, hashed, keywords, sentence in found:
        row = by_id.pop(name, None)
        shown = f": {sentence}" if show else ""
        if row is None:
            wrong.append(f"missing: {name}\t{section}\t{hashed}\t{keywords}{shown}")
        elif (row.hash, row.keywords) != (hashed, keywords):
            wrong.append(f"differs: {name} is {hashed} {keywords}, the ledger has {row.hash} {row.keywords}{shown}")
        elif row.rule.lower().rstrip(".") in sentence.lower():
            wrong.append(f"copied: {name}: the rule is not in words of our own")
    wrong += [f"no sentence: {name} (line {row.number})" for name, row in by_id.items()]
    print(f"RFC 7296: {len(found)} sentences with a keyword")
    return wrong


def read_asserted(folder):
    """id -> set of (program, name of the test case)."""
    asserted = {}
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            for line in file:
                rule, case = line.rstrip("\n").split("\t")
                asserted.setdefault(rule, set()).add((name.removesuffix(".tsv"), case))
    return asserted


def check_asserted(rows, asserted):
    """Rows that claim a test and have none, and ids in tests that no row marks so."""
    kinds = {row.id: row.kind() for row in rows}
    wrong = [f"{row.id} (line {row.number}): marked test, and no test that passes asserts it: {row.rule}"
             for row in rows if row.verdict == "test" and row.id not in asserted]
    for name in sorted(asserted):
        if kinds.get(name) != "test":
            wrong.append(f"{name}: asserted by a test, and the ledger says {kinds.get(name, 'nothing of it')}")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rfc", metavar="FILE", help="the text of RFC 7296")
    parser.add_argument("--show", action="store_true", help="with --rfc: print the sentences that are wrong")
    parser.add_argument("--asserted", metavar="FOLDER", help="what the test programs wrote, a file each")
    parser.add_argument("--gaps", action="store_true", help="print the gaps")
    options = parser.parse_args()

    rows = read_ledger()
    wrong = check_form(rows)
    if options.rfc:
        with open(options.rfc, encoding="utf-8", errors="replace") as file:
            wrong += check_text(rows, file.read(), options.show)
    if options.asserted:
        wrong += check_asserted(rows, read_asserted(options.asserted))
    if options.gaps:
        for row in rows:
            if row.kind() == "gap":
                print(f"{row.id}\t{row.keywords}\t{row.rule}\t{row.verdict}")
    count = {kind: sum(row.kind() == kind for row in rows) for kind in ("test", "na", "gap")}
    for each in wrong:
        print(each)
    print(f"ledger: {len(rows)} rows, {count['test']} tested, {count['na']} not applicable, {count['gap']} gaps; "
          f"{len(wrong)} mistakes")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
