// The picture of what a page shows in its one `pre`. Arguments: URL PICTURE PROFILE-FOLDER

import { open } from "./chromium.mjs";
import { check, say } from "./say.mjs";

const [url, picture, profile] = process.argv.slice(2);
const { context, page, errors } = await open(url, profile, { deviceScaleFactor: 2 });
await page.locator("pre").screenshot({ path: picture });
check(errors.length === 0, `errors: ${errors}`);
await context.close();
say("done");
