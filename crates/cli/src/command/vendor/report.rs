//! What came of vendoring, as a table or as JSON.

use std::process::ExitCode;

use gantry_release::{Error, VendorReport, VendorResult, VendorState};
use serde_json::{Value, json};

use crate::command::image;
use crate::failure::clean;

/// Digits of a digest that tell people which it is.
const SHORT_DIGEST: usize = 12;

/// Prints the report to standard output.
pub(super) fn print(report: &VendorReport, as_json: bool) -> Result<ExitCode, Error> {
    image::print(match as_json {
        true => document(report),
        false => table(report),
    })
}

fn document(report: &VendorReport) -> String {
    let entry = |result: &VendorResult| {
        json!({
            "name": result.name,
            "tag": result.tag,
            "sourceDigest": result.source_digest,
            "destination": result.destination,
            "digest": result.digest,
            "state": word(result.state),
            "bytesMoved": result.bytes,
            "mounts": result.mounts,
            "error": result.error.as_ref().map(|error| clean(&error.message)),
        })
    };
    let images: Vec<Value> = report.results.iter().map(entry).collect();
    serde_json::to_string_pretty(&json!({ "images": images })).expect("a report is plain data") + "\n"
}

fn word(state: VendorState) -> &'static str {
    match state {
        VendorState::UpToDate => "up to date",
        VendorState::Copied => "copied",
        VendorState::Drifted => "drifted",
        VendorState::Absent => "absent",
        VendorState::Failed => "failed",
    }
}

fn table(report: &VendorReport) -> String {
    let mut rows = vec![["IMAGE", "TAG", "DIGEST", "DESTINATION", "STATE", "MOVED"].map(str::to_owned)];
    rows.extend(report.results.iter().map(row));
    let widths: Vec<usize> =
        (0..6).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn row(result: &VendorResult) -> [String; 6] {
    let digest = result.source_digest.map(|digest| digest.hex()[..SHORT_DIGEST].to_owned());
    let moved = match (result.bytes, result.mounts) {
        (0, 0) => String::new(),
        (bytes, 0) => size(bytes),
        (0, mounts) => format!("{mounts} mounted"),
        (bytes, mounts) => format!("{}, {mounts} mounted", size(bytes)),
    };
    [
        result.name.clone(),
        result.tag.clone(),
        digest.unwrap_or_else(|| "-".to_owned()),
        result.destination.clone(),
        word(result.state).to_owned(),
        moved,
    ]
}

fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut unit = 0;
    let mut divisor = 1_u64;
    while bytes / divisor >= 1000 && unit + 1 < UNITS.len() {
        divisor *= 1000;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{}.{} {}", bytes / divisor, bytes % divisor * 10 / divisor, UNITS[unit]),
    }
}
