//! `daas doctor`.

use crate::exit;
use crate::house::House;
use crate::stop::Stop;
use crate::table::{Table, Tone};
use crate::talk::Talk;
use daas_api::{Check, CheckVerdict, DoctorReport};
use daas_model::visible;

/// Asks the daemon, or looks without one; ends with 1 if stands will not work.
pub(crate) async fn run(house: &dyn House, talk: &Talk) -> Result<(), Stop> {
    let report = match talk.client.doctor().await {
        Ok(report) => report,
        Err(failure) if failure.code() == "daemon-unreachable" => {
            let mut report = house.doctor();
            let check = Check {
                code: "daemon".into(),
                title: "daemon".into(),
                verdict: CheckVerdict::Warn,
                found: failure.to_string(),
                fix: failure.hint_text().map(str::to_owned),
            };
            report.checks.insert(0, check);
            report
        }
        Err(failure) => return Err(failure.into()),
    };
    if talk.json {
        talk.json(&report)?;
    } else {
        talk.data(table(&report).text(talk.paint))?;
        for check in &report.checks {
            if let Some(fix) = &check.fix {
                talk.data(format!(
                    "\n{}: {}\n",
                    talk.paint.bold(&visible(&check.title)),
                    visible(fix)
                ))?;
            }
        }
    }
    match report.worst() {
        CheckVerdict::Fail => Err(Stop::Said(exit::NO)),
        CheckVerdict::Ok | CheckVerdict::Warn => Ok(()),
    }
}

fn table(report: &DoctorReport) -> Table {
    let mut table = Table::new(&["", "CHECK", "FOUND"]);
    for check in &report.checks {
        let (word, tone) = match check.verdict {
            CheckVerdict::Ok => ("ok", Tone::Good),
            CheckVerdict::Warn => ("warn", Tone::Warning),
            CheckVerdict::Fail => ("FAIL", Tone::Bad),
        };
        table.painted([
            (word.to_owned(), tone),
            (check.title.clone(), Tone::Plain),
            (check.found.clone(), Tone::Plain),
        ]);
    }
    table
}
