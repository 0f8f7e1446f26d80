//! One visit: what somebody with a product on the screen, an article in mind and perhaps something
//! in the cart does next. Nothing here knows of time or of records.

use crate::random::{Popularity, Random};

const REFERRERS: [(Option<&str>, u32); 6] = [
    (None, 35),
    (Some("search"), 30),
    (Some("newsletter"), 12),
    (Some("social"), 12),
    (Some("partner"), 6),
    (Some("ad"), 5),
];

const DEVICES: [(&str, u32); 3] = [("mobile", 58), ("desktop", 36), ("tablet", 6)];

/// One product in so many that are put into the cart is bought on another device, later.
const ELSEWHERE_ONE_IN: u64 = 10;

/// One step in so many buys what is in the cart …
const PURCHASE_ONE_IN: u64 = 24;
/// … and one in so many of a user who is treated well.
const EAGER_PURCHASE_ONE_IN: u64 = 18;

/// What a visit is told at the entrance, and keeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Browser {
    pub(super) session_hint: u64,
    pub(super) device: &'static str,
    pub(super) referrer: Option<&'static str>,
}

impl Browser {
    pub(super) fn draw(random: &mut Random) -> Self {
        Browser {
            session_hint: random.below(1_000_000),
            device: random.weighted(&DEVICES),
            referrer: random.weighted(&REFERRERS),
        }
    }
}

/// One visit so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Visit {
    /// `None` before the first click.
    pub(super) browser: Option<Browser>,
    /// The article that was read last.
    pub(super) content: Option<u32>,
    /// The product on the screen.
    product: Option<u32>,
    /// The product in the cart.
    cart: Option<u32>,
}

/// What a visitor does next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    Read(u32),
    View(u32),
    Click(u32),
    /// Clicks, in an article, at a product.
    FollowArticle(u32, u32),
    AddToCart(u32),
    /// Puts into the cart what will be bought on another device.
    OrderElsewhere(u32),
    Purchase(u32),
}

impl Visit {
    /// Decides what comes next, and remembers it.
    pub(super) fn act(
        &mut self,
        is_eager: bool,
        products: &Popularity,
        articles: &Popularity,
        random: &mut Random,
    ) -> Action {
        let purchase_one_in = if is_eager { EAGER_PURCHASE_ONE_IN } else { PURCHASE_ONE_IN };
        if let Some(product) = self.cart
            && random.one_in(purchase_one_in)
        {
            self.cart = None;
            return Action::Purchase(product);
        }
        match (self.product, self.content, random.below(100)) {
            (_, _, 0..15) => {
                let article = articles.pick(random);
                (self.content, self.product) = (Some(article), None);
                Action::Read(article)
            }
            (None, Some(article), 15..39) => {
                let product = products.pick(random);
                self.product = Some(product);
                Action::FollowArticle(article, product)
            }
            (Some(product), _, 15..39) => Action::Click(product),
            (Some(product), _, 39..42) => self.add(product, random),
            _ => {
                let product = products.pick(random);
                self.product = Some(product);
                Action::View(product)
            }
        }
    }

    fn add(&mut self, product: u32, random: &mut Random) -> Action {
        if self.cart.is_none() && random.one_in(ELSEWHERE_ONE_IN) {
            return Action::OrderElsewhere(product);
        }
        self.cart = Some(product);
        Action::AddToCart(product)
    }
}
