//! `ApiVersions`: what this broker speaks.

use crate::wire::apis::APIS;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::ApiVersionsResponse;
use kafka_protocol::messages::api_versions_response::ApiVersion;

pub(super) fn versions() -> ApiVersionsResponse {
    let version = |api: &crate::wire::apis::Api| {
        ApiVersion::default()
            .with_api_key(api.key as i16)
            .with_min_version(api.oldest_told())
            .with_max_version(api.newest)
    };
    ApiVersionsResponse::default().with_api_keys(APIS.iter().map(version).collect())
}

/// For a client that has asked in a version that is too new.
pub(super) fn unsupported() -> ApiVersionsResponse {
    versions().with_error_code(ResponseError::UnsupportedVersion.code())
}
