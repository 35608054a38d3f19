//! Calls about names.

use crate::client::{Call, Client};
use daas_api::{
    Failure, NewRecord, RecordList, RecordQuery, RecordView, RecordsQuery, ZoneList, endpoint,
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
}
