"""Tables over runs: scores, comparison, means of seeds."""

from __future__ import annotations

import pandas as pd

from fer_utils.runs.store import VIEWS, Run

# what a reader sees in the place of a column's name
HEADINGS = {
    "title": "model",
    "test_split": "tested on",
    "accuracy_low": "low",
    "accuracy_high": "high",
    "accuracy_views": "accuracy of averaged views",
    "accuracy_float32": "accuracy in float32",
    "accuracy_not_in_training": "accuracy without duplicates",
    "train_accuracy": "accuracy in training",
    "validation_accuracy": "accuracy in validation",
    "macro_f1": "macro F1",
    "gain_low": "gain, low",
    "gain_high": "gain, high",
    "epochs_run": "epochs",
    "training_seconds": "training, s",
    "images_per_second": "training, images/s",
    "batch_1": "inference, images/s one by one",
    "batch_256": "inference, images/s by 256",
    "same_prediction": "same prediction",
    "only_first": "only first right",
    "only_second": "only second right",
    "p_holm": "p Holm",
}


def score_table(runs: list[Run]) -> pd.DataFrame:
    """Every score of some runs: a row for each protocol and split."""
    columns = "n accuracy accuracy_low accuracy_high macro_f1 top2_accuracy ece nll".split()
    rows = [
        {"protocol": run.metrics["protocol"]["name"], "split": split, **score}
        for run in runs
        for split, score in run.metrics["scores"].items()
    ]
    return pd.DataFrame(rows)[["protocol", "split", *columns]]


def comparison(runs: list[Run]) -> pd.DataFrame:
    """The table of comparison.csv: one row per run and protocol."""
    rows = []
    for run in runs:
        metrics, protocol = run.metrics, run.metrics["protocol"]
        train, selected = metrics["scores"][protocol["train"]], run.validation
        apart = metrics["scores"].get(f"{protocol['test']}_not_in_training", {})
        several = metrics["scores"].get(protocol["test"] + VIEWS, {})
        rows.append(
            {
                "run_id": metrics["run_id"],
                "title": metrics["params"]["title"],
                "paper": metrics["params"]["paper"],
                "classes": len(protocol["classes"]),
                "seed": metrics["seed"],
                "protocol": protocol["name"],
                "paper_protocol": metrics["params"]["paper_protocol"],
                "test_split": protocol["test"],
                "n": run.test["n"],
                "accuracy": run.test["accuracy"],
                "accuracy_low": run.test["accuracy_low"],
                "accuracy_high": run.test["accuracy_high"],
                "accuracy_views": several.get("accuracy"),
                "macro_f1": run.test["macro_f1"],
                "accuracy_not_in_training": apart.get("accuracy"),
                "accuracy_not_in_training_low": apart.get("accuracy_low"),
                "accuracy_not_in_training_high": apart.get("accuracy_high"),
                "train_accuracy": train["accuracy"],
                "validation_accuracy": selected["accuracy"],
                "gap": train["accuracy"] - selected["accuracy"],
                "ece": run.test["ece"],
                "nll": run.test["nll"],
                "parameters": metrics["model"]["parameters"],
                "epochs_run": metrics["model"]["epochs_run"],
                "best_epoch": metrics["model"]["best_epoch"],
                "training_seconds": metrics["timing"]["training_seconds"],
                "images_per_second": metrics["timing"]["images_per_second"],
                "folder": run.place,
            }
        )
    return pd.DataFrame(rows)


def seeds(runs: list[Run]) -> pd.DataFrame:
    """Spread over seeds of each model and protocol that has several: mean, deviation, range."""
    rows = [
        {
            "run_id": run.metrics["run_id"],
            "model": run.metrics["params"]["title"],
            "protocol": run.metrics["protocol"]["name"],
            "accuracy": run.test["accuracy"],
        }
        for run in runs
    ]
    groups = pd.DataFrame(rows).groupby(["run_id", "model", "protocol"], sort=False)["accuracy"]
    table = groups.agg(["count", "mean", "std", "min", "max"]).reset_index()
    table = table[table["count"] > 1].drop(columns="run_id").reset_index(drop=True)
    return table.rename(columns={"count": "seeds", "std": "deviation"})


def own_protocol(comparison: pd.DataFrame) -> pd.DataFrame:
    """The rows of a comparison under the papers' own protocols, where that was run."""
    return comparison[comparison["protocol"] == comparison["paper_protocol"]]
