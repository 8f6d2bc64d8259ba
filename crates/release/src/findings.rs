//! What the build checks found, told to whoever watches a build.
//!
//! A generated Dockerfile may have a finding in each of its thousands of lines. Nobody reads them all while a build runs, so
//! only the first are told, and all of them share one text.

use gantry_dockerfile::Warning;

use crate::context::Input;
use crate::error::Excerpt;
use crate::events::{Event, Events};

/// So many findings are shown with a build or with an answer. More than a person reads, and what is left out can be asked for.
pub const MAX_FINDINGS: usize = 100;

/// Tells of the first findings, and how many there are beyond.
pub(crate) fn report(input: &Input, warnings: &[Warning], events: &dyn Events) {
    if warnings.is_empty() {
        return;
    }
    let text = input.shown_text();
    for warning in warnings.iter().take(MAX_FINDINGS) {
        let (file, lines) = (input.name.clone(), warning.lines.clone());
        let excerpt = Excerpt { file, text: text.clone(), lines };
        events.event(Event::Finding { rule: warning.rule, message: warning.message.clone(), excerpt });
    }
    if let Some(more) = more_findings(warnings.len()) {
        let hints = vec!["`gantry build --call=check` lists all of them".to_owned()];
        events.event(Event::Warning { message: format!("{}: {more}", input.name), hints });
    }
}

/// A sentence about those of so many findings that are not shown, if there are such.
pub fn more_findings(count: usize) -> Option<String> {
    let more = count.checked_sub(MAX_FINDINGS).filter(|more| *more > 0)?;
    let noun = if more == 1 { "finding is" } else { "findings are" };
    Some(format!("{more} more {noun} not shown"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use gantry_dockerfile::Rule;

    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<Event>>);

    impl Events for Heard {
        fn event(&self, event: Event) {
            self.0.lock().unwrap().push(event);
        }
    }

    fn heard(count: u32) -> Vec<Event> {
        let input = Input {
            name: "Dockerfile".to_owned(),
            text: b"LABEL a b\n".repeat(count as usize),
            context: None,
            directory: None,
            contexts: BTreeMap::new(),
            exclude: Vec::new(),
        };
        let rule = Rule::LegacyKeyValueFormat;
        let warnings: Vec<_> = (1..=count)
            .map(|line| Warning { rule, message: "it is old".to_owned(), lines: line..=line })
            .collect();
        let heard = Heard::default();
        report(&input, &warnings, &heard);
        heard.0.into_inner().unwrap()
    }

    #[test]
    fn many_findings_share_one_text_and_are_not_all_told() {
        let events = heard(8000);
        assert_eq!(events.len(), MAX_FINDINGS + 1);
        let texts: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::Finding { excerpt, .. } => Some(&excerpt.text),
                _ => None,
            })
            .collect();
        assert!(texts.len() == MAX_FINDINGS && texts.iter().all(|text| Arc::ptr_eq(text, texts[0])));
        let Some(Event::Warning { message, .. }) = events.last() else { panic!("{:?}", events.last()) };
        assert_eq!(message, "Dockerfile: 7900 more findings are not shown");
    }

    #[test]
    fn few_findings_are_all_told() {
        assert_eq!((heard(0).len(), heard(100).len()), (0, 100));
        assert_eq!(more_findings(101).unwrap(), "1 more finding is not shown");
    }
}
