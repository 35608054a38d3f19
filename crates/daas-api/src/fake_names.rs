//! Names of the platform that is not there.

use crate::caller::Caller;
use crate::fake::FakePlatform;
use crate::names::{
    NewRecord, RecordList, RecordQuery, RecordView, RecordsQuery, ZoneList, ZoneView,
};
use crate::platform::{Answer, Names};
use std::future::ready;

fn record() -> RecordView {
    RecordView {
        name: "shop.dev.example.com".into(),
        kind: "A".into(),
        ttl: 5,
        data: "192.0.2.80".into(),
        source: "stand/shop".into(),
    }
}

impl Names for FakePlatform {
    fn zones(&self) -> Answer<'_, ZoneList> {
        let zone = ZoneView {
            name: "dev.example.com".into(),
            serial: 1_760_000_000,
            records: 7,
            stands: true,
            ds: Some("60485 13 2 2bb183af".into()),
            secondaries: vec!["192.0.2.53:53".into()],
        };
        Box::pin(ready(Ok(ZoneList {
            listens: vec!["127.0.0.1:53".into()],
            items: vec![zone],
        })))
    }

    fn records(&self, _query: RecordsQuery) -> Answer<'_, RecordList> {
        Box::pin(ready(Ok(RecordList {
            items: vec![record()],
        })))
    }

    fn add_record<'a>(&'a self, _caller: &'a Caller, new: NewRecord) -> Answer<'a, RecordView> {
        Box::pin(ready(Ok(RecordView {
            name: new.name,
            kind: new.kind,
            ttl: new.ttl.unwrap_or(300),
            data: new.data,
            source: "kept".into(),
        })))
    }

    fn remove_record<'a>(&'a self, _caller: &'a Caller, _query: RecordQuery) -> Answer<'a, ()> {
        Box::pin(ready(Ok(())))
    }
}
