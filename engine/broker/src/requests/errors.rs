//! From what went wrong to the number that clients know it by.

use crate::groups::group::GroupError;
use crate::log::batch::BatchError;
use crate::log::partition_log::ReadError;
use crate::log::producers::SequenceError;
use crate::topics::catalog::TopicError;
use crate::topics::config::ConfigError;
use crate::topics::partition::AppendError;
use crate::transactions::state::TransactionError;
use kafka_protocol::ResponseError;
use std::io;

/// The code of success.
pub(crate) const NONE: i16 = 0;

/// Something that clients know by a number.
pub(crate) trait Code {
    fn error(&self) -> ResponseError;

    fn code(&self) -> i16 {
        self.error().code()
    }
}

/// The code of a result.
pub(crate) fn code_of<T, E: Code>(result: &Result<T, E>) -> i16 {
    result.as_ref().err().map_or(NONE, Code::code)
}

impl Code for ResponseError {
    fn error(&self) -> ResponseError {
        *self
    }
}

impl Code for io::Error {
    fn error(&self) -> ResponseError {
        tracing::warn!("{self}");
        ResponseError::KafkaStorageError
    }
}

impl Code for AppendError {
    fn error(&self) -> ResponseError {
        match self {
            AppendError::Batch(error) => error.error(),
            AppendError::TooLarge { .. } => ResponseError::MessageTooLarge,
            AppendError::Sequence(SequenceError::Fenced) => ResponseError::InvalidProducerEpoch,
            AppendError::Sequence(SequenceError::OutOfOrder) => {
                ResponseError::OutOfOrderSequenceNumber
            }
            AppendError::Sequence(SequenceError::NotEnrolled) => ResponseError::InvalidTxnState,
            AppendError::Io(error) => error.error(),
        }
    }
}

impl Code for BatchError {
    fn error(&self) -> ResponseError {
        match self {
            BatchError::Version(_) => ResponseError::UnsupportedForMessageFormat,
            BatchError::Compression(_) => ResponseError::UnsupportedCompressionType,
            BatchError::Count { .. } | BatchError::Control | BatchError::Producer => {
                ResponseError::InvalidRecord
            }
            BatchError::Truncated(_) | BatchError::Length(_) | BatchError::Checksum => {
                ResponseError::CorruptMessage
            }
        }
    }
}

impl Code for ReadError {
    fn error(&self) -> ResponseError {
        match self {
            ReadError::OutOfRange { .. } => ResponseError::OffsetOutOfRange,
            ReadError::Io(error) => error.error(),
        }
    }
}

impl Code for TopicError {
    fn error(&self) -> ResponseError {
        match self {
            TopicError::Name(_) => ResponseError::InvalidTopicException,
            TopicError::Exists(_) => ResponseError::TopicAlreadyExists,
            TopicError::Unknown(_) => ResponseError::UnknownTopicOrPartition,
            TopicError::Partitions(_) => ResponseError::InvalidPartitions,
            TopicError::Io(error) => error.error(),
        }
    }
}

impl Code for ConfigError {
    fn error(&self) -> ResponseError {
        ResponseError::InvalidConfig
    }
}

impl Code for TransactionError {
    fn error(&self) -> ResponseError {
        match self {
            TransactionError::UnknownProducer => ResponseError::InvalidProducerIdMapping,
            TransactionError::Fenced => ResponseError::ProducerFenced,
            TransactionError::Phase(_) | TransactionError::UnknownGroup => {
                ResponseError::InvalidTxnState
            }
            TransactionError::Timeout(_) => ResponseError::InvalidTransactionTimeout,
            // Clients ask again: by then there may be room on the disk.
            TransactionError::Io(error) => {
                tracing::warn!("{error}");
                ResponseError::CoordinatorNotAvailable
            }
        }
    }
}

impl Code for GroupError {
    fn error(&self) -> ResponseError {
        match self {
            GroupError::UnknownMember => ResponseError::UnknownMemberId,
            GroupError::MemberIdRequired(_) => ResponseError::MemberIdRequired,
            GroupError::IllegalGeneration => ResponseError::IllegalGeneration,
            GroupError::RebalanceInProgress => ResponseError::RebalanceInProgress,
            GroupError::InconsistentProtocol => ResponseError::InconsistentGroupProtocol,
            GroupError::FencedInstance => ResponseError::FencedInstanceId,
            GroupError::SessionTimeout => ResponseError::InvalidSessionTimeout,
            GroupError::Full => ResponseError::GroupMaxSizeReached,
            GroupError::NotEmpty => ResponseError::NonEmptyGroup,
            GroupError::UnknownGroup => ResponseError::GroupIdNotFound,
            GroupError::InvalidName => ResponseError::InvalidGroupId,
            GroupError::Subscribed => ResponseError::GroupSubscribedToTopic,
        }
    }
}
