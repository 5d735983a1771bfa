//! The records of `leaktrace heap`, and how each is told.

use crate::{
    error::Failure,
    output::{
        heap_record::{HeapConstructor, HeapGrowth, HeapObject, HeapSnapshot},
        heap_text,
        record::Record,
    },
    session::printer::Printer,
};

impl Printer {
    pub(super) fn snapshot(&mut self, record: &HeapSnapshot) -> Result<(), Failure> {
        self.print(|look| heap_text::snapshot(record, look), || vec![Record::HeapSnapshot(record.clone())])
    }

    pub(super) fn constructors(&mut self, records: &[HeapConstructor]) -> Result<(), Failure> {
        self.print(
            |look| heap_text::constructors(records, look),
            || records.iter().cloned().map(Record::HeapConstructor).collect(),
        )
    }

    /// What grew in so many files.
    pub(super) fn growths(&mut self, records: &[HeapGrowth], files: usize) -> Result<(), Failure> {
        self.print(
            |look| match records {
                [] => heap_text::no_growth(files),
                records => records.iter().map(|record| heap_text::growth(record, look)).collect(),
            },
            || records.iter().cloned().map(Record::HeapGrowth).collect(),
        )
    }

    pub(super) fn object(&mut self, record: &HeapObject) -> Result<(), Failure> {
        self.print(|look| heap_text::object(record, look), || vec![Record::HeapObject(record.clone())])
    }
}
