//! Calls about names.

use crate::client::{Call, Client};
use daas_api::{
    Failure, KeyRoll, KeySeen, NewRecord, RecordList, RecordQuery, RecordView, RecordsQuery,
    ZoneKeyList, ZoneList, endpoint,
};

impl Client {
    /// Returns the zones.
    ///
    /// # Errors
    /// What the daemon said, or the way to it; so do all calls here.
    pub async fn zones(&self) -> Result<ZoneList, Failure> {
        self.get(Call::new(&endpoint::DNS_ZONES, &[])).await
    }

    /// Returns records of one zone or of all.
    ///
    /// # Errors
    /// As [`Client::zones`].
    pub async fn records(&self, query: &RecordsQuery) -> Result<RecordList, Failure> {
        self.get(Call::new(&endpoint::DNS_RECORDS, &[]).query(query))
            .await
    }

    /// Keeps a record.
    ///
    /// # Errors
    /// As [`Client::zones`].
    pub async fn add_record(&self, record: &NewRecord) -> Result<RecordView, Failure> {
        self.post(Call::new(&endpoint::DNS_RECORD_ADD, &[]), record)
            .await
    }

    /// Forgets kept records.
    ///
    /// # Errors
    /// As [`Client::zones`].
    pub async fn remove_record(&self, query: &RecordQuery) -> Result<(), Failure> {
        self.nothing(Call::new(&endpoint::DNS_RECORD_REMOVE, &[]).query(query))
            .await
    }

    /// Returns the keys of one signed zone or of all.
    ///
    /// # Errors
    /// As [`Client::zones`].
    pub async fn zone_keys(&self, query: &RecordsQuery) -> Result<ZoneKeyList, Failure> {
        self.get(Call::new(&endpoint::DNS_KEYS, &[]).query(query))
            .await
    }

    /// Begins to roll the key of a zone.
    ///
    /// # Errors
    /// As [`Client::zones`].
    pub async fn roll_key(&self, roll: &KeyRoll) -> Result<ZoneKeyList, Failure> {
        self.post(Call::new(&endpoint::DNS_KEY_ROLL, &[]), roll)
            .await
    }

    /// Tells that the zone above names the new key.
    ///
    /// # Errors
    /// As [`Client::zones`].
    pub async fn key_seen(&self, seen: &KeySeen) -> Result<ZoneKeyList, Failure> {
        self.post(Call::new(&endpoint::DNS_KEY_SEEN, &[]), seen)
            .await
    }
}
