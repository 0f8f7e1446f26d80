//! The requests that this broker answers: versions and layouts, one entry each.
//!
//! Versions end where a client would take a later one for a promise that isn't kept here, such as
//! transactions that need no `AddPartitionsToTxn` (from `Produce` 12 and `EndTxn` 5 on).

use super::layout::Shape::{Blob, Fixed, Fixeds, Structs, Text, Texts};
use super::layout::{Encoding, Field, Shape};
use kafka_protocol::messages::ApiKey;

/// A request.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) key: ApiKey,
    pub(crate) oldest: i16,
    pub(crate) newest: i16,
    flexible_since: i16,
    pub(crate) fields: &'static [Field],
}

impl Api {
    pub(crate) fn encoding(&self, version: i16) -> Encoding {
        if version >= self.flexible_since { Encoding::Flexible } else { Encoding::Classic }
    }

    /// The oldest version that clients are told. Clients based on librdkafka before 2.8 take it
    /// that a broker without `Produce` 0 understands no compression.
    pub(crate) fn oldest_told(&self) -> i16 {
        if matches!(self.key, ApiKey::Produce) { 0 } else { self.oldest }
    }
}

/// The entry of a request, if it is answered in this version.
pub(crate) fn find(key: i16, version: i16) -> Option<&'static Api> {
    let api = APIS.iter().find(|api| api.key as i16 == key)?;
    (api.oldest..=api.newest).contains(&version).then_some(api)
}

/// No version has become flexible.
const NEVER: i16 = i16::MAX;

/// In all versions.
const fn all(shape: Shape) -> Field {
    Field { since: 0, until: i16::MAX, shape }
}

const fn since(since: i16, shape: Shape) -> Field {
    Field { since, until: i16::MAX, shape }
}

const fn until(until: i16, shape: Shape) -> Field {
    Field { since: 0, until, shape }
}

const fn within(since: i16, until: i16, shape: Shape) -> Field {
    Field { since, until, shape }
}

const fn api(
    key: ApiKey,
    (oldest, newest): (i16, i16),
    flexible_since: i16,
    fields: &'static [Field],
) -> Api {
    Api { key, oldest, newest, flexible_since, fields }
}

/// A topic with numbers of partitions.
const PARTITIONS_BY_TOPIC: Shape = Structs(&[all(Text), all(Fixeds(4))]);

/// All requests that are answered.
#[rustfmt::skip]
pub(crate) const APIS: &[Api] = &[
    api(ApiKey::Produce, (3, 11), 9, &[
        all(Text), all(Fixed(6)),
        all(Structs(&[all(Text), all(Structs(&[all(Fixed(4)), all(Blob)]))])),
    ]),
    api(ApiKey::Fetch, (4, 17), 12, &[
        until(14, Fixed(4)), all(Fixed(13)), since(7, Fixed(8)),
        all(Structs(&[
            until(12, Text), since(13, Fixed(16)),
            all(Structs(&[
                all(Fixed(4)), since(9, Fixed(4)), all(Fixed(8)), since(12, Fixed(4)),
                since(5, Fixed(8)), all(Fixed(4)),
            ])),
        ])),
        since(7, Structs(&[until(12, Text), since(13, Fixed(16)), all(Fixeds(4))])),
        since(11, Text),
    ]),
    api(ApiKey::ListOffsets, (1, 7), 6, &[
        all(Fixed(4)), since(2, Fixed(1)),
        all(Structs(&[all(Text), all(Structs(&[all(Fixed(4)), since(4, Fixed(4)), all(Fixed(8))]))])),
    ]),
    api(ApiKey::Metadata, (0, 12), 9, &[
        all(Structs(&[since(10, Fixed(16)), all(Text)])),
        since(4, Fixed(1)), within(8, 10, Fixed(1)), since(8, Fixed(1)),
    ]),
    api(ApiKey::OffsetCommit, (2, 8), 8, &[
        all(Text), all(Fixed(4)), all(Text), since(7, Text), until(4, Fixed(8)),
        all(Structs(&[
            all(Text),
            all(Structs(&[all(Fixed(12)), since(6, Fixed(4)), all(Text)])),
        ])),
    ]),
    api(ApiKey::OffsetFetch, (1, 8), 6, &[
        until(7, Text), until(7, PARTITIONS_BY_TOPIC),
        since(8, Structs(&[all(Text), all(PARTITIONS_BY_TOPIC)])),
        since(7, Fixed(1)),
    ]),
    api(ApiKey::FindCoordinator, (0, 4), 3, &[until(3, Text), since(1, Fixed(1)), since(4, Texts)]),
    api(ApiKey::JoinGroup, (0, 9), 6, &[
        all(Text), all(Fixed(4)), since(1, Fixed(4)), all(Text), since(5, Text), all(Text),
        all(Structs(&[all(Text), all(Blob)])), since(8, Text),
    ]),
    api(ApiKey::Heartbeat, (0, 4), 4, &[all(Text), all(Fixed(4)), all(Text), since(3, Text)]),
    api(ApiKey::LeaveGroup, (0, 5), 4, &[
        all(Text), until(2, Text), since(3, Structs(&[all(Text), all(Text), since(5, Text)])),
    ]),
    api(ApiKey::SyncGroup, (0, 5), 4, &[
        all(Text), all(Fixed(4)), all(Text), since(3, Text), since(5, Text), since(5, Text),
        all(Structs(&[all(Text), all(Blob)])),
    ]),
    api(ApiKey::DescribeGroups, (0, 5), 5, &[all(Texts), since(3, Fixed(1))]),
    api(ApiKey::ListGroups, (0, 5), 3, &[since(4, Texts), since(5, Texts)]),
    api(ApiKey::ApiVersions, (0, 4), 3, &[since(3, Text), since(3, Text)]),
    api(ApiKey::CreateTopics, (2, 7), 5, &[
        all(Structs(&[
            all(Text), all(Fixed(6)), all(Structs(&[all(Fixed(4)), all(Fixeds(4))])),
            all(Structs(&[all(Text), all(Text)])),
        ])),
        all(Fixed(5)),
    ]),
    api(ApiKey::DeleteTopics, (1, 6), 4, &[
        since(6, Structs(&[all(Text), all(Fixed(16))])), until(5, Texts), all(Fixed(4)),
    ]),
    api(ApiKey::DeleteRecords, (0, 2), 2, &[
        all(Structs(&[all(Text), all(Structs(&[all(Fixed(12))]))])), all(Fixed(4)),
    ]),
    api(ApiKey::InitProducerId, (0, 4), 2, &[all(Text), all(Fixed(4)), since(3, Fixed(10))]),
    api(ApiKey::OffsetForLeaderEpoch, (2, 4), 4, &[
        since(3, Fixed(4)), all(Structs(&[all(Text), all(Structs(&[all(Fixed(12))]))])),
    ]),
    api(ApiKey::AddPartitionsToTxn, (0, 3), 3, &[
        all(Text), all(Fixed(10)), all(PARTITIONS_BY_TOPIC),
    ]),
    api(ApiKey::AddOffsetsToTxn, (0, 3), 3, &[all(Text), all(Fixed(10)), all(Text)]),
    api(ApiKey::EndTxn, (0, 3), 3, &[all(Text), all(Fixed(11))]),
    api(ApiKey::TxnOffsetCommit, (0, 3), 3, &[
        all(Text), all(Text), all(Fixed(10)), since(3, Fixed(4)), since(3, Text), since(3, Text),
        all(Structs(&[
            all(Text),
            all(Structs(&[all(Fixed(12)), since(2, Fixed(4)), all(Text)])),
        ])),
    ]),
    api(ApiKey::DescribeConfigs, (1, 4), 4, &[
        all(Structs(&[all(Fixed(1)), all(Text), all(Texts)])), all(Fixed(1)), since(3, Fixed(1)),
    ]),
    api(ApiKey::AlterConfigs, (0, 2), 2, &[
        all(Structs(&[all(Fixed(1)), all(Text), all(Structs(&[all(Text), all(Text)]))])),
        all(Fixed(1)),
    ]),
    api(ApiKey::CreatePartitions, (0, 3), 2, &[
        all(Structs(&[all(Text), all(Fixed(4)), all(Structs(&[all(Fixeds(4))]))])), all(Fixed(5)),
    ]),
    api(ApiKey::DeleteGroups, (0, 2), 2, &[all(Texts)]),
    api(ApiKey::IncrementalAlterConfigs, (0, 1), 1, &[
        all(Structs(&[
            all(Fixed(1)), all(Text), all(Structs(&[all(Text), all(Fixed(1)), all(Text)])),
        ])),
        all(Fixed(1)),
    ]),
    api(ApiKey::OffsetDelete, (0, 0), NEVER, &[
        all(Text), all(Structs(&[all(Text), all(Structs(&[all(Fixed(4))]))])),
    ]),
    api(ApiKey::DescribeCluster, (0, 1), 0, &[all(Fixed(1)), since(1, Fixed(1))]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_turn_flexible_where_the_protocol_does() {
        for api in APIS {
            for version in api.oldest..=api.newest {
                let expected = match api.key.request_header_version(version) {
                    2 => Encoding::Flexible,
                    _ => Encoding::Classic,
                };
                assert_eq!(api.encoding(version), expected, "{:?} {version}", api.key);
            }
        }
    }

    #[test]
    fn every_version_is_one_that_can_be_decoded() {
        for api in APIS {
            let known = api.key.valid_versions();
            assert!(known.min <= api.oldest && api.newest <= known.max, "{:?}", api.key);
        }
    }
}
