// A dashboard as its makers would write it: Vue, with Vue Router in the hash.

import { createApp, h } from "vue";
import { createRouter, createWebHashHistory, RouterLink, RouterView } from "vue-router";

const titled = (title) => ({ render: () => h("h1", title) });

const router = createRouter({
  history: createWebHashHistory(),
  routes: [
    { path: "/", component: titled("Home") },
    { path: "/item/:id", component: { render() { return h("h1", `Item ${this.$route.params.id}`) } } },
    { path: "/old", redirect: "/item/8" },
    { path: "/guarded", component: titled("Guarded") },
    { path: "/login", component: titled("Log in") },
  ],
});
router.beforeEach((to) => (to.path === "/guarded" ? "/login" : true));

const link = (to, id) => h(RouterLink, { to, id }, () => id);
createApp({
  render: () => h("main", [link("/", "home"), link("/item/7", "item"), link("/old", "old"), link("/guarded", "guarded"),
    link("/item/9?sort=price", "sorted"), h("section", { id: "reviews" }, "Reviews"), h(RouterView)]),
}).use(router).mount("#app");
