//! Names of the platform that is not there.

use crate::caller::Caller;
use crate::fake::FakePlatform;
use crate::names::{
    KeyRoll, KeySeen, NewRecord, RecordList, RecordQuery, RecordView, RecordsQuery, ZoneKeyList,
    ZoneKeyState, ZoneKeyView, ZoneList, ZoneView,
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

fn keys() -> ZoneKeyList {
    let key = |tag, state, until_ms| ZoneKeyView {
        zone: "dev.example.com".into(),
        tag,
        algorithm: 13,
        state,
        until_ms,
        since_ms: None,
        dnskey: "257 3 13 bWFkZSB1cA==".into(),
        ds: format!("{tag} 13 2 2bb183af"),
    };
    ZoneKeyList {
        items: vec![
            key(60485, ZoneKeyState::Active, None),
            key(1234, ZoneKeyState::Publishing, Some(1_760_000_000_000)),
        ],
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

    fn keys(&self, _query: RecordsQuery) -> Answer<'_, ZoneKeyList> {
        Box::pin(ready(Ok(keys())))
    }

    fn roll_key<'a>(&'a self, _caller: &'a Caller, _roll: KeyRoll) -> Answer<'a, ZoneKeyList> {
        Box::pin(ready(Ok(keys())))
    }

    fn key_seen<'a>(&'a self, _caller: &'a Caller, _seen: KeySeen) -> Answer<'a, ZoneKeyList> {
        Box::pin(ready(Ok(keys())))
    }
}
