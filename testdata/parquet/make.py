#!/usr/bin/env python3
"""Writes small Parquet files with the columns and types of the hub's, from ../prompts.

    pip install pyarrow && python3 testdata/parquet/make.py

pyarrow is the library the hub's own files are written with: every column is
optional and lists are three-level groups. Their innermost name is "element"
in files written today and "item" in those of older versions; there is one
file of each. Made with pyarrow 26.0.1.
"""
import json
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).parent
STR, BOOL, I32, F64 = pa.string(), pa.bool_(), pa.int32(), pa.float64()


def struct(**fields):
    return pa.struct(list(fields.items()))


def lists(**fields):
    return struct(**{name: pa.list_(of) for name, of in fields.items()})


SCHEMAS = {
    "oasst1": pa.schema({
        "message_id": STR, "parent_id": STR, "user_id": STR, "created_date": STR, "text": STR, "role": STR,
        "lang": STR, "review_count": I32, "review_result": BOOL, "deleted": BOOL, "rank": I32, "synthetic": BOOL,
        "model_name": STR,
        "detoxify": struct(toxicity=F64, severe_toxicity=F64, obscene=F64, identity_attack=F64, insult=F64,
                           threat=F64, sexual_explicit=F64),
        "message_tree_id": STR, "tree_state": STR,
        "emojis": lists(name=STR, count=I32), "labels": lists(name=STR, value=F64, count=I32),
    }),
    "cnn_dailymail": pa.schema({"article": STR, "highlights": STR, "id": STR}),
    "trivia_qa": pa.schema({
        "question": STR, "question_id": STR, "question_source": STR,
        "entity_pages": lists(doc_source=STR, filename=STR, title=STR, wiki_context=STR),
        "search_results": lists(description=STR, filename=STR, rank=I32, title=STR, url=STR, search_context=STR),
        "answer": struct(aliases=pa.list_(STR), normalized_aliases=pa.list_(STR), matched_wiki_entity_name=STR,
                         normalized_matched_wiki_entity_name=STR, normalized_value=STR, type=STR, value=STR),
    }),
    "openai_humaneval": pa.schema({"task_id": STR, "prompt": STR, "canonical_solution": STR, "test": STR, "entry_point": STR}),
}


def rows_of(name):
    with open(HERE.parent / "prompts" / f"{name}.jsonl", encoding="utf-8") as f:
        rows = [json.loads(line) for line in f][:10]
    if name == "oasst1":  # nested values, which the authored rows leave null
        rows[0]["detoxify"] = {field.name: 0.25 for field in SCHEMAS[name].field("detoxify").type}
        rows[0]["emojis"] = {"name": ["+1", "red_heart"], "count": [3, 1]}
        rows[0]["labels"] = {"name": ["quality", "humor"], "value": [0.75, 0.0], "count": [3, 2]}
    return rows


for name, schema in SCHEMAS.items():
    table = pa.Table.from_pylist(rows_of(name), schema=schema)
    pq.write_table(table, HERE / f"{name}.parquet", compression="snappy", row_group_size=4)
    if name in ("oasst1", "trivia_qa"):
        pq.write_table(table, HERE / f"{name}-item.parquet", compression="snappy", use_compliant_nested_type=False)
