//! Tags and metadata of assets.

use tonic::Status;

use super::real::{Real, tags, text};
use super::support::{Fake, config, open};
use crate::sift::assets::get_asset;
use crate::sift::{Fault, RegisterError, register, update_asset};

#[tokio::test]
async fn what_is_given_is_set_and_the_rest_left_alone() {
    let real = Real::start().await;
    let connection = open(real.address()).await;
    let id = register(&connection, &config(&["a"]), None).await.unwrap().asset_id;
    let asset = async || get_asset(&connection, &id).await.unwrap();
    let labels = async || {
        let asset = asset().await;
        (asset.tags, asset.metadata)
    };
    let made = asset().await;
    let (red, sea) = (tags(&["red"]), tags(&["sea", "red"]));
    let ada = [text("pilot", "Ada"), text("seat", "1")];

    update_asset(&connection, &id, None, None).await.unwrap();
    update_asset(&connection, &id, Some(&[]), Some(&[])).await.unwrap();
    assert_eq!(asset().await, made, "nothing differed, so nothing was updated");

    update_asset(&connection, &id, Some(&red), None).await.unwrap();
    assert_eq!(labels().await, (red.clone(), vec![]));
    update_asset(&connection, &id, None, Some(&ada)).await.unwrap();
    assert_eq!(labels().await, (red, ada.to_vec()));
    update_asset(&connection, &id, Some(&sea), Some(&ada[..1])).await.unwrap();
    assert_eq!(labels().await, (sea, ada[..1].to_vec()));
    update_asset(&connection, &id, Some(&[]), None).await.unwrap();
    assert_eq!(labels().await, (vec![], ada[..1].to_vec()));
    let labelled = asset().await;
    assert_eq!((labelled.name, labelled.created_date), (made.name, made.created_date));
}

#[tokio::test]
async fn an_update_names_what_differs_and_none_is_made_if_nothing_does() {
    let fake = Fake::default();
    let connection = fake.connect().await;
    let (red, ada) = (tags(&["red", "sea"]), [text("pilot", "Ada")]);
    update_asset(&connection, "asset:rover", None, None).await.unwrap();
    assert!(fake.state().calls.is_empty());
    for (tags_given, metadata_given, mask) in [
        (Some(&red[..]), Some(&ada[..]), Some(&["tags", "metadata"][..])),
        (Some(&red), Some(&ada), None),
        (Some(&tags(&["sea", "red"])), None, None),
        (Some(&red[..1]), Some(&ada), Some(&["tags"])),
        (Some(&red[..1]), Some(&[]), Some(&["metadata"])),
    ] {
        update_asset(&connection, "asset:rover", tags_given, metadata_given).await.unwrap();
        assert_eq!(fake.state().masks.pop().as_deref(), mask.map(tags).as_deref());
    }
    let sent = fake.state().updated_assets.clone();
    assert!(sent.iter().all(|asset| asset.asset_id == "asset:rover"));
    assert_eq!(sent.len(), 3);
}

#[tokio::test]
async fn an_id_that_no_asset_has_is_told() {
    let real = Real::start().await;
    let connection = open(real.address()).await;
    let error = update_asset(&connection, "no-such", Some(&tags(&["red"])), None).await.unwrap_err();
    assert!(matches!(error, RegisterError::NoSuchId { what: "asset", .. }), "{error:?}");
    assert!(error.to_string().starts_with("no asset has the id \"no-such\": "), "{error}");
    assert_eq!(error.fault(), Fault::Data);
    assert!(!error.is_transient());
}

#[tokio::test]
async fn a_failed_update_is_told() {
    let fake = Fake::default();
    let connection = fake.connect().await;
    for (fails, fault) in [
        (vec![Status::unavailable("down")], Fault::Transient { retry_after: None }),
        (vec![Status::permission_denied("no")], Fault::Destination),
    ] {
        fake.state().failures.extend(fails);
        let error = update_asset(&connection, "asset:rover", Some(&tags(&["red"])), None).await.unwrap_err();
        assert_eq!(error.fault(), fault, "{error}");
    }
    fake.state().answers_without_content = true;
    let error = update_asset(&connection, "asset:rover", Some(&tags(&["red"])), None).await.unwrap_err();
    assert!(matches!(error, RegisterError::MissingField { call: "GetAsset", .. }), "{error:?}");
    assert!(fake.state().masks.is_empty());
}
