//! Any bytes as the state of the reservations, as a question of the other head and as its answer: what is understood is
//! written again byte by byte the same, and whatever is asked on top of it gives a state that can be read again.
#![no_main]

use iscsi_target::scsi::shared::{document, relay};
use iscsi_target::scsi::unit::{Decision, LogicalUnit};
use libfuzzer_sys::fuzz_target;
use sas_backend::superblock::{RECORD_MAX_BYTES, Record};
use twinhead_fuzz::{Input, unit_config};

fuzz_target!(|bytes: &[u8]| {
    if let Some(state) = document::parse(bytes) {
        assert_eq!(document::emit(&state), bytes);
    }
    if let Some(question) = relay::Question::parse(bytes) {
        assert_eq!(
            question.emit().as_deref(),
            Some(bytes).filter(|_| bytes.len() <= replication::message::WORDS_MAX_BYTES)
        );
    }
    if let Some(answer) = relay::parse_answer(bytes) {
        assert_eq!(relay::emit_answer(&answer), bytes);
    }

    let mut input = Input::new(bytes);
    let mut unit = LogicalUnit::new(unit_config());
    while !input.is_empty() {
        let length = usize::from(input.u16());
        let words = input.take(length);
        unit.set_record(&Record { kept: 0, bytes: words.into() });
        if let Decision::Do(wished) = unit.answer_question(words)
            && let Decision::Do(record) = unit.decide(&wished)
        {
            assert!(record.bytes.len() <= RECORD_MAX_BYTES, "a state has to fit behind the superblock");
            assert!(unit.set_record(&record).is_some(), "what this head writes it can read");
            assert!(
                document::parse(&record.outliving().bytes).is_some(),
                "also what is left of it after a loss of power"
            );
        }
    }
});
