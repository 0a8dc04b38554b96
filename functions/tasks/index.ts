/** The tasks of this queue: the key is the task's name. A Worker has no folder to read, so each is written down here. */
import { echo } from "./echo.ts";
import { flaky } from "./flaky.ts";
import { http_request, webhook } from "./http_request.ts";
import { process_data } from "./process_data.ts";
import { sleep } from "./sleep.ts";

export const tasks = { echo, flaky, http_request, process_data, sleep, webhook };
