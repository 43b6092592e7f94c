// A shop as its makers would write it: React, with React Router in the History API. Knows nothing
// of the tracker but the one call of a button.

import { createElement as h } from "react";
import { createRoot } from "react-dom/client";
import { createBrowserRouter, Link, Navigate, Outlet, RouterProvider, useNavigate, useParams, useSearchParams } from "react-router";

const Layout = () =>
  h("main", null,
    h("nav", null, h(Link, { to: "/", id: "home" }, "Home"), h(Link, { to: "/item/7", id: "item" }, "Item"),
      h(Link, { to: "/old", id: "old" }, "Old"), h(Link, { to: "/item/7", id: "same" }, "Same"),
      h(Link, { to: "#reviews", id: "anchor" }, "Reviews")),
    h(Outlet), h("section", { id: "reviews" }, "Reviews"));

const Home = () => h("h1", null, "Home");

const Item = () => {
  const [, setSearch] = useSearchParams();
  const navigate = useNavigate();
  return h("div", null, h("h1", null, `Item ${useParams().id}`),
    h("button", { id: "sort", onClick: () => setSearch({ sort: "price" }) }, "Sort"),
    h("button", { id: "buy", onClick: () => { window.djaffar.log("checkout", { total: 12 }); navigate("/thanks", { replace: true }); } }, "Buy"));
};

const router = createBrowserRouter([
  { Component: Layout, children: [
    { path: "/", Component: Home },
    { path: "/item/:id", Component: Item },
    { path: "/old", element: h(Navigate, { to: "/item/8", replace: true }) },
    { path: "/thanks", element: h("h1", null, "Thanks") },
  ] },
]);

createRoot(document.querySelector("#app")).render(h(RouterProvider, { router }));
