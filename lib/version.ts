/** The version of tickq, in every answer and in the API's description. */
export const VERSION = "0.1.0";
