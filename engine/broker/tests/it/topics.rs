//! Topics, as administrators see them.

use crate::clients::{PATIENCE, TestBroker, produce};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaErrorCode;

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn admin(broker: &TestBroker) -> AdminClient<DefaultClientContext> {
    broker.client(&[]).create().unwrap()
}

fn partitions(broker: &TestBroker, topic: &str) -> usize {
    let admin = admin(broker);
    let metadata = admin.inner().fetch_metadata(Some(topic), PATIENCE).unwrap();
    metadata.topics()[0].partitions().len()
}

#[test]
fn topics_are_made_grown_and_deleted() {
    let mut broker = TestBroker::start();
    let options = AdminOptions::new();
    let new = |name| NewTopic::new(name, 3, TopicReplication::Fixed(1));
    run(async {
        let admin = admin(&broker);
        let made = admin.create_topics(&[new("a"), new("b")], &options).await.unwrap();
        assert!(made.iter().all(Result::is_ok));
        let again = admin.create_topics(&[new("a")], &options).await.unwrap();
        assert_eq!(again[0].as_ref().unwrap_err().1, RDKafkaErrorCode::TopicAlreadyExists);
        let bad = NewTopic::new("c", 3, TopicReplication::Fixed(3));
        let bad = admin.create_topics(&[bad], &options).await.unwrap();
        assert_eq!(bad[0].as_ref().unwrap_err().1, RDKafkaErrorCode::InvalidReplicationFactor);
        let strange = new("c").set("no.such.option", "1");
        let strange = admin.create_topics(&[strange], &options).await.unwrap();
        assert_eq!(strange[0].as_ref().unwrap_err().1, RDKafkaErrorCode::InvalidConfig);
        admin.create_partitions(&[NewPartitions::new("a", 7)], &options).await.unwrap();
        admin.delete_topics(&["b"], &options).await.unwrap();
    });
    assert_eq!(partitions(&broker, "a"), 7);
    broker.restart();
    assert_eq!(partitions(&broker, "a"), 7);
    let all = admin(&broker).inner().fetch_metadata(None, PATIENCE).unwrap();
    assert_eq!(all.topics().len(), 1);
}

#[test]
fn a_topic_that_is_made_again_is_empty() {
    let broker = TestBroker::start();
    let producer = broker.producer(&[]);
    produce(&producer, "again", 0, &["old"]);
    run(async {
        let admin = admin(&broker);
        admin.delete_topics(&["again"], &AdminOptions::new()).await.unwrap();
        let new = NewTopic::new("again", 4, TopicReplication::Fixed(1));
        admin.create_topics(&[new], &AdminOptions::new()).await.unwrap();
    });
    produce(&broker.producer(&[]), "again", 0, &["new"]);
    assert_eq!(broker.read("again", 0, "read_uncommitted"), ["new"]);
}

#[test]
fn options_are_described_and_changed() {
    let mut broker = TestBroker::start();
    let options = AdminOptions::new();
    let value = |broker: &TestBroker, name: &str| {
        let admin = admin(broker);
        let resource = [ResourceSpecifier::Topic("t")];
        let found = run(admin.describe_configs(&resource, &options)).unwrap();
        found[0].as_ref().unwrap().get(name).unwrap().value.clone().unwrap()
    };
    run(async {
        let admin = admin(&broker);
        let new = NewTopic::new("t", 1, TopicReplication::Fixed(1)).set("retention.ms", "1000");
        admin.create_topics(&[new], &options).await.unwrap();
    });
    assert_eq!(value(&broker, "retention.ms"), "1000");
    assert_eq!(value(&broker, "retention.bytes"), "-1");
    let change = AlterConfig::new(ResourceSpecifier::Topic("t")).set("retention.bytes", "7");
    run(admin(&broker).alter_configs(&[change], &options)).unwrap()[0].as_ref().unwrap();
    assert_eq!(value(&broker, "retention.bytes"), "7");
    broker.restart();
    assert_eq!(value(&broker, "retention.bytes"), "7");
}
