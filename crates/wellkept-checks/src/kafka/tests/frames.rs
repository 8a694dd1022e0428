//! What comes from a broker may be anything: nothing of it ends the process, or makes it read for long.

use proptest::prelude::*;

use crate::kafka::messages::{Answer, Api};

const ALL: [Api; 9] = [
    Api::ListOffsets,
    Api::Metadata,
    Api::OffsetFetch,
    Api::FindCoordinator,
    Api::DescribeGroups,
    Api::SaslHandshake,
    Api::Versions,
    Api::SaslAuthenticate,
    Api::ConsumerGroupDescribe,
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_bytes_at_all_are_too_much(
        api in prop::sample::select(ALL.to_vec()),
        above in 0_i16..9,
        // Small numbers are counts and lengths that fit, so that more than the first few bytes are read.
        rest in prop::collection::vec(prop_oneof![3 => 0_u8..4, 1 => any::<u8>()], 0..200),
    ) {
        let (first, last) = api.versions();
        let mut frame = vec![0, 0, 0, 7];
        frame.extend(rest);
        let _whatever = Answer::read(api, last.min(first + above), 7, &frame);
    }
}

#[test]
fn as_many_items_as_are_announced_are_never_made_room_for() {
    // A correlation, a throttle time, and two thousand million brokers.
    let announced = [0, 0, 0, 7, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff];
    assert_eq!(Answer::read(Api::Metadata, 4, 7, &announced), None);
    // The same in the form of the newer versions, which has tagged fields before.
    let announced = [0, 0, 0, 7, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f];
    assert_eq!(Answer::read(Api::Metadata, 9, 7, &announced), None);
    // As many tagged fields.
    let announced = [0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
    assert_eq!(Answer::read(Api::Metadata, 9, 7, &announced), None);
    // Another question's answer.
    assert_eq!(Answer::read(Api::Versions, 0, 6, &[0, 0, 0, 7, 0, 0, 0, 0, 0, 0]), None);
    let empty = Some(Answer::Versions(crate::kafka::messages::Code::NONE, Vec::new()));
    assert_eq!(Answer::read(Api::Versions, 0, 7, &[0, 0, 0, 7, 0, 0, 0, 0, 0, 0]), empty);
}
