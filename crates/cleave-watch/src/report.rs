// SPDX-License-Identifier: MIT OR Apache-2.0
//! The plugin's arguments, and what it writes when QEMU ends: one JSON object.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use cleave::tables::VirtAddr;
use cleave_model::Rule;

use crate::defect::Defect;
use crate::judge::judge;
use crate::judgement::FORMS;
use crate::record::Record;
use crate::survey::Survey;

/// The options of the watcher.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The file for the report.
    pub(crate) file: PathBuf,
    /// The addresses that every CPU uses at any time; cleave's linear map, unless said otherwise.
    pub(crate) shared: RangeInclusive<VirtAddr>,
    /// The defects to judge the run with as well.
    pub(crate) defects: Vec<Defect>,
}

impl Options {
    /// Reads `report=FILE`, `shared=FIRST-LAST` and `defects=all` or `defects=NAME`.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, String> {
        // src/mm/layout.rs: root entries 0 to 255.
        let linear_map = VirtAddr(0xffff_0000_0000_0000)..=VirtAddr(0xffff_7fff_ffff_ffff);
        let mut options = Self { file: "watcher.json".into(), shared: linear_map, defects: Vec::new() };
        for argument in arguments {
            let wrong = || format!("{argument}: not an argument of the watcher");
            let address = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).map(VirtAddr);
            match argument.split_once('=').ok_or_else(wrong)? {
                ("report", file) => options.file = file.into(),
                ("shared", range) => {
                    let (first, last) = range.split_once('-').ok_or_else(wrong)?;
                    options.shared = address(first).map_err(|_| wrong())?..=address(last).map_err(|_| wrong())?;
                }
                ("defects", "all") => options.defects = Defect::ALL.to_vec(),
                ("defects", name) => {
                    options.defects.push(*Defect::ALL.iter().find(|defect| defect.name() == name).ok_or_else(wrong)?);
                }
                _ => return Err(wrong()),
            }
        }
        Ok(options)
    }
}

/// Judges a run, and says what came of it.
pub(crate) fn report(record: &Record, options: &Options) -> String {
    let survey = match Survey::of(record) {
        Ok(survey) => survey,
        Err(trouble) => return object(&[("verdict", text("none")), ("text", text(trouble))]),
    };
    let found = judge(record, &survey, &options.shared, None);
    let defects: Vec<(&str, String)> = options
        .defects
        .iter()
        .map(|&defect| (defect.name(), text(&judge(record, &survey, &options.shared, Some(defect)).verdict())))
        .collect();
    let cpus: Vec<String> = found
        .counts
        .iter()
        .map(|counts| {
            object(&[
                ("table_stores", counts.table_stores.to_string()),
                ("broadcast_tlbis", counts.broadcasts.to_string()),
                ("local_tlbis", counts.local_invalidations.to_string()),
                ("dsbs", counts.dsbs.to_string()),
                ("synchronisations", counts.synchronisations.to_string()),
                ("roots", counts.roots.to_string()),
                ("accesses", counts.accesses.to_string()),
                ("acquires", counts.acquires.to_string()),
            ])
        })
        .collect();
    let forms: Vec<(&str, String)> = FORMS
        .iter()
        .enumerate()
        .map(|(form, &name)| (name, found.counts.iter().map(|counts| counts.forms[form]).sum::<u64>().to_string()))
        .collect();
    let explained = match (&found.violation, &found.lost) {
        (Some((violation, Some(address))), _) => format!("{violation}  at the instruction {address:#x}"),
        (Some((violation, None)), _) => format!("{violation}  at the end of the run"),
        (None, Some(lost)) => lost.clone(),
        (None, None) => String::new(),
    };
    let rules = Rule::ALL
        .map(|rule| (rule.text().id.to_owned(), text(&format!("{}: {}", rule.text().name, rule.text().sentence))));
    object(&[
        ("verdict", text(&found.verdict())),
        ("text", text(&explained)),
        ("settled", found.settled.to_string()),
        ("entries", record.entries.len().to_string()),
        ("breaks", found.breaks.to_string()),
        ("tables_before", found.tables_before.to_string()),
        ("tables_after", found.tables_after.to_string()),
        ("tables_new", found.tables_new.to_string()),
        ("device_stores", record.devices.stores.to_string()),
        ("devices_without_syndrome", list(&record.devices.without_syndrome)),
        ("broadcast_forms", object(&forms)),
        ("cpus", format!("[{}]", cpus.join(","))),
        ("defects", object(&defects)),
        ("rules", object(&rules)),
    ])
}

fn object<T: AsRef<str>>(members: &[(T, String)]) -> String {
    let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{}\":{value}", name.as_ref())).collect();
    format!("{{{}}}", members.join(","))
}

/// A JSON array of addresses, as strings.
fn list(addresses: &BTreeSet<u64>) -> String {
    let addresses: Vec<String> = addresses.iter().map(|address| format!("\"{address:#x}\"")).collect();
    format!("[{}]", addresses.join(","))
}

/// A JSON string.
fn text(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            character if character < ' ' => write!(quoted, "\\u{:04x}", character as u32).unwrap_or_default(),
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}
