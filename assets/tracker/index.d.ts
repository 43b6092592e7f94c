// Types of the tracker, for `import "djaffar"` and for `window.djaffar`.

/** Details of a named activity: a JSON object of at most 8 KiB, three levels deep. */
export type Properties = Record<string, unknown>;

/** What `data-more` may list. */
export type More = "outbound" | "downloads" | "forms" | "errors" | "404" | "time" | "scroll";

/** Every setting; in a script tag each is an attribute `data-…`. */
export interface Settings {
  /** Where activities are posted; `/djaffar/log/`, or `log/` beside the script. */
  endpoint?: string | undefined;
  /**
   * The Authorization header, such as `Token 9944b09199c62bcf9418ad846dd0e4bb`. A getter is asked
   * for each request.
   */
  token?: string | undefined;
  /** Whether the hash is part of the path: for applications with hash routing. */
  hash?: boolean | string | undefined;
  /** Whether the query string is part of the path. */
  query?: boolean | string | undefined;
  /**
   * `false` or `off`: no view is logged but by `view()`. `later`: not the first of a page, where
   * the server says that it has logged it.
   */
  views?: boolean | string | undefined;
  /** `false` or `off`: nothing is kept in localStorage. */
  storage?: boolean | string | undefined;
  /**
   * Global Privacy Control and Do Not Track are honoured, unless this is `given`. With `ask`,
   * nothing is sent until `optIn()`.
   */
  consent?: "ask" | "given" | (string & {}) | undefined;
  /** Of an endpoint on another origin: `omit` sends no cookies. */
  credentials?: RequestCredentials | (string & {}) | undefined;
  /** What else is logged, by words: `outbound downloads forms errors 404 time scroll`. */
  more?: string | More[] | undefined;
  /** Where the script came from; the tag sets it. */
  src?: string | undefined;
}

/** Begins; in a script tag it begins by itself. The first call counts. */
export function start(settings?: Settings): void;

/**
 * Logs what a user did. The path is that of the last view, unless it is given.
 * @returns The activity's `event_id`; nothing when it is not logged (no consent), or not yet.
 */
export function log(name: string, properties?: Properties, path?: string): string | undefined;

/** Logs a view: of the page's path, unless another one is given; the same twice is one view. */
export function view(path?: string): string | undefined;

/** Nothing is sent from now on, and the queue is emptied; remembered. */
export function optOut(): void;

/** Activities are sent from now on, whatever the browser's signals say; remembered. */
export function optIn(): void;

/** What the script defines. */
export interface Djaffar {
  start: (settings: Settings) => void;
  log: typeof log;
  view: typeof view;
  optOut: () => void;
  optIn: () => void;
  /** Calls from before the script came. */
  q?: unknown[] & { wait?: boolean };
}

declare global {
  interface Window {
    djaffar?: Djaffar;
  }
}
