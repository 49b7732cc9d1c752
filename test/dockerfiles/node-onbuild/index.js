console.log("triggered");
